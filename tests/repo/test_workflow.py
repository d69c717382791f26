"""The GitHub workflow runs what people run, with no rights it does not need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    return dict(yaml.load(text, yaml.BaseLoader))  # noqa: S506 — no types; `on` stays a text


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_it_has_no_rights_but_to_read(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] in ({}, {"contents": "read"})
        assert "timeout-minutes" in job


def test_actions_are_pinned_by_hash_and_keep_no_token(workflow: dict[str, Any]) -> None:
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] == "false"


def test_it_runs_make_targets_that_exist(workflow: dict[str, Any]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(
        r"make ([a-z-]+)", " ".join(step.get("run", "") for step in steps(workflow))
    )

    assert {"check", "test"} <= set(made) <= targets


def test_it_checks_every_python_that_the_package_names(workflow: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))

    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == named


def test_one_job_tests_on_a_given_server(workflow: dict[str, Any]) -> None:
    given = [
        name
        for name, job in workflow["jobs"].items()
        if "OBELISK_OPS_TEST_S3" in job.get("env", {})
    ]

    assert given == ["test-minio"]


def test_the_last_job_waits_for_all_others(workflow: dict[str, Any]) -> None:
    jobs = workflow["jobs"]

    assert set(jobs["all-green"]["needs"]) == set(jobs) - {"all-green"}
    assert jobs["all-green"]["if"] == "always()"
