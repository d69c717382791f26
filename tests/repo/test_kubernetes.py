"""The example for Kubernetes, as far as its text shows: no cluster is here to be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from obelisk_ops.settings import load, named_databases
from tests.repo.test_docker import DOCKER, assert_a_stop_fits, assert_known, entrypoint

FILE = DOCKER / "kubernetes.yaml"
OBJECTS = {found["kind"]: found for found in yaml.safe_load_all(FILE.read_text())}
VERSIONS = {"ConfigMap": "v1", "Job": "batch/v1", "StatefulSet": "apps/v1"}
PODS = {kind: OBJECTS[kind]["spec"]["template"]["spec"] for kind in ("Job", "StatefulSet")}

pods = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


def test_there_is_what_is_needed_and_no_secret() -> None:
    assert {kind: found["apiVersion"] for kind, found in OBJECTS.items()} == VERSIONS
    assert all(found["metadata"]["name"] for found in OBJECTS.values())
    for kind, found in OBJECTS.items():
        assert "env" not in found, kind
    assert "secretKeyRef" not in FILE.read_text(), "as files: variables are shown to many"


def test_there_is_one_worker_and_it_keeps_its_name() -> None:
    spec = OBJECTS["StatefulSet"]["spec"]

    assert spec["replicas"] == 1
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


@pods
def test_a_pod_has_few_rights(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    # The user of the image, who has no name here; and a group that may read the secret.
    assert "--uid 10001 " in (DOCKER / "Dockerfile").read_text()
    assert {pod["securityContext"][key] for key in ("runAsUser", "fsGroup")} == {10001}
    assert pod["automountServiceAccountToken"] is False, "it would lie in /run/secrets too"
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pods
def test_what_is_mounted_is_there_and_where_it_is_looked_for(pod: dict[str, Any]) -> None:
    places = {mount["name"]: mount["mountPath"] for mount in container(pod)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = OBJECTS["StatefulSet"]["spec"]["volumeClaimTemplates"]

    assert set(places) == set(volumes) | {claim["metadata"]["name"] for claim in claims}
    assert places["s3"] == "/run/secrets"
    assert "/run/secrets/$name" in (DOCKER / "entrypoint.sh").read_text()
    assert volumes["s3"]["secret"]["defaultMode"] == 0o440
    assert volumes["config"]["configMap"]["name"] == OBJECTS["ConfigMap"]["metadata"]["name"]


@pods
def test_its_configuration_loads_and_names_what_runs(
    pod: dict[str, Any], tmp_path: Path
) -> None:
    ((name, text),) = OBJECTS["ConfigMap"]["data"].items()
    file = tmp_path / name
    file.write_text(text)
    settings = load(file)

    (variable,) = container(pod)["env"]
    assert variable == {"name": "OBELISK_OPS_CONFIG", "value": f"/etc/obelisk-ops/{name}"}
    assert [str(path) for path in named_databases(settings).values()] == ["/data/orders.db"]
    assert str(settings.state_dir).startswith("/data/")


def test_its_commands_exist_and_a_stop_fits(tmp_path: Path) -> None:
    worker, pod = container(PODS["StatefulSet"]), PODS["StatefulSet"]
    file = tmp_path / "obelisk-ops.yml"
    file.write_text(OBJECTS["ConfigMap"]["data"]["obelisk-ops.yml"])

    assert_known([*entrypoint(), *worker["args"]])
    assert_known(container(PODS["Job"])["command"])
    assert "--first-boot" in container(PODS["Job"])["command"]
    assert "--first-boot" not in worker["args"]
    assert_known(worker["readinessProbe"]["exec"]["command"])
    assert "livenessProbe" not in worker, "S3 that is away is no reason to end a worker"
    assert_a_stop_fits(
        load(file), worker["args"], within_s=pod["terminationGracePeriodSeconds"]
    )
