"""
The images and the stack, as far as their files show.

The structure is checked everywhere. `docker compose config` reads the file as
docker does, and is asked too where the client can: not every machine has it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from obelisk_ops.cli.root import COMMANDS, main
from obelisk_ops.settings import Settings, load, named_databases

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SERVING = ("minio", "worker", "postgres")
ON_POSTGRES = ("pg-tables", "pg-worker", "pg-hands", "pg-client")
SECRETS = {"S3_ACCESS_KEY": "canary", "S3_SECRET_KEY": "canary-1", "PGPASSWORD": "canary-2"}


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


def test_the_stack_has_its_services(stack: dict[str, Any]) -> None:
    named = {name for name, service in stack["services"].items() if "profiles" not in service}
    assert named == {"minio", "bucket", "worker"}
    # What allows an empty disk runs when somebody asks for it, and never by itself.
    assert stack["services"]["first-boot"]["profiles"] == ["first-boot"]
    assert "--first-boot" not in stack["services"]["worker"].get("command", ())


@pytest.mark.parametrize("name", SERVING)
def test_what_serves_is_watched_and_gets_time_to_stop(stack: dict[str, Any], name: str) -> None:
    service = stack["services"][name]

    assert service["stop_grace_period"] == "60s"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"


def test_images_are_pinned(stack: dict[str, Any]) -> None:
    given = stack["services"]["minio"]["image"]

    assert re.fullmatch(r"\$\{MINIO_IMAGE:-minio/minio:RELEASE\.[0-9TZ-]+\}", given)
    assert stack["services"]["bucket"]["image"] == given
    # Its number says how the folder of the data is laid out; what follows it are repairs alone.
    server = stack["services"]["postgres"]["image"]
    assert re.fullmatch(r"\$\{POSTGRES_IMAGE:-postgres:18-\w+\}", server)
    bases = re.findall(r"^FROM (\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)


def test_nothing_is_published_beyond_loopback(stack: dict[str, Any]) -> None:
    for service in stack["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_no_secret_stands_in_the_stack_or_the_image(stack: dict[str, Any]) -> None:
    for service in stack["services"].values():
        for name, value in service.get("environment", {}).items():
            is_secret = re.search("KEY|SECRET|PASSWORD|ROOT_USER", name)
            assert not is_secret or name.endswith("_FILE"), value
    assert all(set(source) == {"environment"} for source in stack["secrets"].values())
    image = (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"^\s*(ARG|ENV).*(KEY|SECRET|PASSWORD|TOKEN)", image, re.MULTILINE)


def test_only_who_speaks_to_the_bucket_gets_its_keys(stack: dict[str, Any]) -> None:
    holders = {name for name, service in stack["services"].items() if service.get("secrets")}

    assert holders == {"minio", "bucket", "first-boot", "worker", "postgres", *ON_POSTGRES}
    for name in ("postgres", *ON_POSTGRES):
        assert stack["services"][name]["secrets"] == ["PGPASSWORD"]


def test_our_services_run_with_few_rights(stack: dict[str, Any]) -> None:
    for name in ("first-boot", "worker", *ON_POSTGRES):
        service = stack["services"][name]
        assert "read_only" not in service, (
            "Compose refuses it beside secrets of the environment"
        )
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "\nUSER obelisk\n" in (DOCKER / "Dockerfile").read_text()


def test_the_commands_of_the_stack_exist(stack: dict[str, Any]) -> None:
    services = stack["services"]
    lines = [
        [*entrypoint(), *services["worker"]["command"]],
        services["worker"]["healthcheck"]["test"],
        services["first-boot"]["entrypoint"],
        *(services[name]["entrypoint"] + services[name]["command"] for name in ON_POSTGRES),
    ]

    for line in lines:
        assert_known(line)


def entrypoint() -> list[str]:
    """Return the image's own entrypoint; what a service gives as its command follows it."""
    found = re.search(
        r"^ENTRYPOINT (\[.*\])$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE
    )
    assert found
    words = json.loads(found.group(1))
    assert words == ["entrypoint", "obelisk-ops", "exec", "--"]
    return list(words)


def assert_known(line: list[str]) -> None:
    """Hold a command line, and the one that it runs, against the commands there are."""
    while "obelisk-ops" in line:
        line = line[line.index("obelisk-ops") + 1 :]
        assert line[0] in COMMANDS
        parse(main, line)


def test_the_image_says_how_it_is() -> None:
    image = (DOCKER / "Dockerfile").read_text()

    assert re.search(
        r'^HEALTHCHECK .*\\\n +CMD \["obelisk-ops", "status"\]$', image, re.MULTILINE
    )
    assert "\nSTOPSIGNAL SIGTERM\n" in image


def test_the_image_leaves_no_volume_behind() -> None:
    """Each container of it would make one without a name, which `down` does not take away."""
    image = (DOCKER / "Dockerfile").read_text()

    assert not re.search(r"^VOLUME", image, re.MULTILINE)
    # It gives a mounted volume its owner and its rights.
    assert "install -d -o obelisk -g obelisk -m 0700 /data\n" in image


def test_the_image_can_be_built_from_files_that_nobody_else_may_read() -> None:
    image = (DOCKER / "Dockerfile").read_text()
    last = image.rpartition("\nFROM ")[2]

    given = re.findall(r"^COPY (?!--from)(.+)$", last, re.MULTILINE)
    assert given
    assert [line for line in given if not line.startswith("--chmod=0755 ")] == []


def parse(command: click.Command, words: list[str]) -> None:
    """Parse a command line the way click would, down to the last command; run nothing."""
    context = command.make_context(command.name, list(words))
    if isinstance(command, click.Group):
        name, found, rest = command.resolve_command(
            context, context._protected_args + context.args
        )
        assert found is not None, name
        parse(found, rest)


def test_the_worker_reads_the_example_for_minio(stack: dict[str, Any]) -> None:
    worker = stack["services"]["worker"]
    (source, target) = next(
        mount.removesuffix(":ro").split(":")
        for mount in worker["volumes"]
        if mount.endswith(":ro")
    )

    settings = load((DOCKER / source).resolve())

    assert worker["environment"]["OBELISK_OPS_CONFIG"] == target
    assert settings.replica is not None
    assert settings.replica.endpoint == "http://minio:9000"
    assert settings.replica.bucket in stack["services"]["bucket"]["command"][0]
    assert str(settings.state_dir).startswith("/data/")
    # Named without a glob, so that it is restored when it is missing; and it is what runs.
    assert [str(path) for path in named_databases(settings).values()] == ["/data/hello.db"]
    assert "/data/hello.db" in worker["command"]
    assert worker["hostname"], "an epoch belongs to a host"
    assert_a_stop_fits(
        settings, worker["command"], within_s=int(worker["stop_grace_period"][:-1])
    )


def assert_a_stop_fits(settings: Settings, command: list[str], *, within_s: int) -> None:
    """Hold the times against each other: worker, then all of `exec`, then what surrounds it."""
    drain_s = int(command[command.index("--grace") + 1])
    assert drain_s < settings.stop_timeout_s * 0.4
    assert settings.stop_timeout_s + 5 <= within_s


@pytest.mark.parametrize("name", ["pg-worker", "pg-hands"])
def test_workers_on_a_server_can_be_many(stack: dict[str, Any], name: str) -> None:
    service = stack["services"][name]

    # What is each one's own: a name, a port, a volume.
    assert not {"container_name", "hostname", "ports", "volumes"} & set(service)
    assert service["depends_on"] == {
        "pg-tables": {"condition": "service_completed_successfully"}
    }
    drain_s = int(service["command"][service["command"].index("--grace") + 1])
    assert drain_s + 5 <= int(service["stop_grace_period"][:-1])
    # The image's own asks a supervisor, and there is none.
    assert service["healthcheck"] == {"disable": True}
    # A worker as process 1 leaves the orphans of its activities as zombies.
    assert service["init"] is True


def test_the_tables_are_made_by_one_who_may_once_the_server_is_up(
    stack: dict[str, Any],
) -> None:
    services = stack["services"]

    assert services["pg-tables"]["command"][:2] == ["db", "migrate"]
    assert services["pg-tables"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["pg-tables"]["restart"] == "no"
    # While it is made, a server listens on its socket alone.
    assert "127.0.0.1" in services["postgres"]["healthcheck"]["test"]
    url = "postgresql://lab@postgres/lab"
    assert all(url in services[name]["command"] for name in ON_POSTGRES)
    assert {services["postgres"]["environment"][f"POSTGRES_{x}"] for x in ("USER", "DB")} == {
        "lab"
    }


def test_the_page_about_many_workers_types_what_the_file_begins_with() -> None:
    page = (ROOT / "docs/how-to/run-workers-on-several-machines.md").read_text()
    head = (DOCKER / "compose.yaml").read_text().split("\n\n")[1]
    typed = re.sub(r" \\\n# +", " ", head)

    lines = re.findall(r"^#   (.+)$", typed, re.MULTILINE)
    assert len(lines) == 7
    assert [line for line in lines if line not in page] == []


def test_the_entrypoint_makes_variables_of_secrets(tmp_path: Path) -> None:
    script = (DOCKER / "entrypoint.sh").read_text()
    assert script.count("/run/secrets/") == 2
    (tmp_path / "PGPASSWORD").write_text("canary\n")
    (tmp_path / "entrypoint").write_text(script.replace("/run/secrets", str(tmp_path)))

    done = subprocess.run(
        ["sh", tmp_path / "entrypoint", "sh", "-c", 'echo "$PGPASSWORD."'],
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    assert done.stdout == "canary.\n"


def test_the_entrypoint_hands_secrets_on_and_becomes_the_command() -> None:
    entrypoint = DOCKER / "entrypoint.sh"

    assert stat.S_IMODE(entrypoint.stat().st_mode) & 0o111
    done = subprocess.run(
        ["sh", entrypoint, "sh", "-c", 'echo "$1 $0"', "last", "first"],
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    assert done.stdout == "first last\n"


def test_docker_reads_the_stack_as_we_do(stack: dict[str, Any]) -> None:
    """Holds everywhere as far as YAML goes; where the client has compose, docker judges too."""
    used = {
        mount.split(":")[0]
        for s in stack["services"].values()
        for mount in s.get("volumes", ())
    }
    assert {name for name in used if not name.startswith(".")} == set(stack["volumes"])
    for service in stack["services"].values():
        assert set(service.get("depends_on", ())) <= set(stack["services"])
        assert set(service.get("secrets", ())) <= set(stack["secrets"])

    if has_compose():
        for profile in ("first-boot", "postgres"):
            done = compose("--profile", profile, "config", "--format", "json")
            assert done.returncode == 0, done.stderr
            assert "canary" not in done.stdout


def has_compose() -> bool:
    try:
        return compose("version").returncode == 0
    except FileNotFoundError:
        return False


def compose(*words: str) -> subprocess.CompletedProcess[str]:
    alone = shutil.which("docker-compose")  # it reads files without docker, too
    return subprocess.run(
        [*([alone] if alone else ["docker", "compose"]), "-f", DOCKER / "compose.yaml", *words],
        capture_output=True, text=True, check=False, timeout=180, env=os.environ | SECRETS,
    )  # fmt: skip
