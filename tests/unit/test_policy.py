"""Policies of least privilege: what each role may do to which key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from obelisk_ops.cli import main
from obelisk_ops.replica.layout import CHECK_FOLDER, HOSTS_FOLDER, ReplicaKeys, root_marker
from obelisk_ops.replica.policy import Role, policy
from obelisk_ops.settings import ReplicaSettings

KEYS = ReplicaKeys(prefix="experiments/one", name="exp-17")
LTX = f"{KEYS.level(1, 0)}{1:016x}-{1:016x}.ltx"
SNAPSHOT = f"{KEYS.level(12_345, 9)}{1:016x}-{9:016x}.ltx"
MARKER = KEYS.marker(1)
LEASE = f"experiments/one/{HOSTS_FOLDER}/4f.json"
SCRATCH = f"experiments/one/{CHECK_FOLDER}/4f/probe"
ROOT = root_marker("experiments/one")
ELSEWHERE = "experiments/other/exp-17/e0001/0000/x.ltx"


def replica(**changes: Any) -> ReplicaSettings:
    given = {
        "bucket": "backups", "prefix": "experiments/one", "endpoint": None,
        "region": "eu-central-1", "credentials": "env",
    }  # fmt: skip
    return ReplicaSettings(**(given | changes))


def allows(made: dict[str, Any], action: str, key: str) -> bool:
    """Decide as AWS does for a request over TLS, as far as these policies go."""
    arn = f"arn:aws:s3:::backups/{key}"
    return any(
        action in each["Action"] and any(matches(arn, one) for one in listed(each["Resource"]))
        for each in made["Statement"]
        if each["Effect"] == "Allow"
    )


def listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def matches(text: str, pattern: str) -> bool:
    parts = (re.escape(part) for part in re.split(r"([*?])", pattern))
    return bool(re.fullmatch("".join(parts).replace(r"\*", ".*").replace(r"\?", "."), text))


@pytest.mark.parametrize(
    ("role", "action", "may"),
    [
        ("writer", "s3:GetObject", {LTX, SNAPSHOT, MARKER, LEASE, SCRATCH, ROOT}),
        ("writer", "s3:PutObject", {LTX, SNAPSHOT, MARKER, LEASE, SCRATCH, ROOT}),
        ("writer", "s3:DeleteObject", {LTX, SNAPSHOT, LEASE, SCRATCH, ROOT}),
        ("reader", "s3:GetObject", {LTX, SNAPSHOT, MARKER, LEASE, SCRATCH, ROOT}),
        ("reader", "s3:PutObject", set()),
        ("reader", "s3:DeleteObject", set()),
        ("pruner", "s3:GetObject", {LTX, SNAPSHOT, MARKER, LEASE, SCRATCH, ROOT}),
        ("pruner", "s3:PutObject", set()),
        ("pruner", "s3:DeleteObject", {LTX, SNAPSHOT}),
    ],
)
def test_what_a_role_may_do(role: str, action: str, may: set[str]) -> None:
    made = policy(replica(), Role(role))

    keys = [LTX, SNAPSHOT, MARKER, LEASE, SCRATCH, ROOT, ELSEWHERE]
    assert {key for key in keys if allows(made, action, key)} == may


@pytest.mark.parametrize("role", Role)
def test_every_role_lists_its_prefix_and_no_other(role: Role) -> None:
    listing = statement(policy(replica(), role), "List")

    assert listing["Action"] == ["s3:ListBucket"]
    assert listing["Resource"] == "arn:aws:s3:::backups"
    below = listing["Condition"]["StringLike"]["s3:prefix"]
    asked = ["experiments/one", "experiments/one/", KEYS.markers, "experiments/on", "", "x"]
    assert [any(matches(one, p) for p in below) for one in asked] == [True] * 3 + [False] * 3


def test_a_bucket_of_ones_own_needs_no_condition() -> None:
    made = policy(replica(prefix=""), Role.WRITER)

    assert "Condition" not in statement(made, "List")
    assert statement(made, "ReadAndWrite")["Resource"] == "arn:aws:s3:::backups/*"


@pytest.mark.parametrize(
    ("endpoint", "is_there"),
    [(None, True), ("https://s3.example.org", True), ("http://127.0.0.1:9000", False)],
)
def test_what_is_spoken_over_tls_is_spoken_over_nothing_else(
    endpoint: str | None, *, is_there: bool
) -> None:
    made = policy(replica(endpoint=endpoint), Role.READER)

    assert ("NothingWithoutTls" in {each["Sid"] for each in made["Statement"]}) is is_there


@pytest.mark.parametrize(
    ("region", "arn"),
    [("cn-north-1", "arn:aws-cn:s3"), ("us-gov-west-1", "arn:aws-us-gov:s3")],
)
def test_other_partitions_have_other_names(region: str, arn: str) -> None:
    made = policy(replica(region=region), Role.READER)

    assert all(one.startswith(arn) for one in resources(made))


@pytest.mark.parametrize("role", Role)
def test_it_is_a_policy_by_its_structure(role: Role) -> None:
    made = policy(replica(), role)

    assert made["Version"] == "2012-10-17"
    names = [each["Sid"] for each in made["Statement"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in names)
    for each in made["Statement"]:
        assert set(each) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        is_allowed = each["Effect"] == "Allow"
        assert all(re.fullmatch("s3:[A-Za-z]+", a) for a in each["Action"] if is_allowed)


def test_the_command_needs_neither_credentials_nor_the_network(tmp_path: Path) -> None:
    file = tmp_path / "obelisk-ops.yml"
    file.write_text("replica: {url: s3://backups/one, credentials: file:nowhere}\n")

    done = CliRunner().invoke(main, ["-c", str(file), "policy", "--role", "writer"])
    wrong = CliRunner().invoke(main, ["-c", str(file), "policy"])

    assert done.exit_code == 0
    assert statement(json.loads(done.stdout), "ReadAndWrite")
    assert wrong.exit_code == 2


def statement(made: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in made["Statement"] if each["Sid"] == name)
    return found


def resources(made: dict[str, Any]) -> Iterator[str]:
    for each in made["Statement"]:
        yield from listed(each["Resource"])
