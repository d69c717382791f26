"""Drills of real replicas from a real S3 server, by the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.restore.drill.result import Drilled, Outcome
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.drillbook import Drillbook
from tests.commands import Commands, Ran, commands_for
from tests.conftest import S3
from tests.drilled import workflow_replica
from tests.replicas import ReplicatedDatabase
from tests.support import crash_here

POINTS = 4


@pytest.fixture(scope="module")
def backup(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    return workflow_replica(tmp_path_factory.mktemp("wf"), s3.replica(), points=POINTS)


@pytest.fixture
def commands(backup: ReplicatedDatabase, tmp_path: Path) -> Commands:
    return commands_for(backup.place, tmp_path)


def told(ran: Ran) -> dict[str, Any]:
    """Return the one drill that was told."""
    [only] = json.loads(ran.out)["drills"]
    assert isinstance(only, dict)
    return only


def test_a_sound_backup_is_proven(commands: Commands, tmp_path: Path) -> None:
    ran = commands.run("replica", "drill", "run", "--code", "tests.drilled", "--json")

    assert ran.status == 0, ran.err
    drilled = told(ran)
    assert (drilled["name"], drilled["outcome"]) == ("run", "ok")
    assert (drilled["epoch"], drilled["txid"]) == (1, POINTS)
    assert set(drilled["checks"].values()) == {"ok"}
    assert {"pages", "line", "database", "logs", "causes", "projections", "replay"} <= set(
        drilled["checks"]
    )
    newest, by_chance = drilled["points"]
    assert (newest["why"], newest["executions"], newest["replayed"]) == ("latest", 16, 16)
    assert by_chance["why"] == "random"
    assert by_chance["txid"] < POINTS
    listed = commands.run("replica", "points", "run", "--exact", "--json").told["points"]
    times = {point["txid"]: point["at"] for point in listed}
    assert {point["txid"]: point["at"] for point in drilled["points"]}.items() <= times.items()
    assert [entry.name for entry in (tmp_path / ".obelisk-ops" / "drills").iterdir()] == [
        "lock"
    ]


def test_without_code_nothing_is_replayed_and_a_seed_takes_the_same_points(
    commands: Commands,
) -> None:
    drilled = told(commands.run("replica", "drill", "--seed", "7", "--json"))
    people = commands.run("replica", "drill", "run", "--seed", "7")

    assert (drilled["outcome"], drilled["seed"]) == ("ok", 7)
    assert drilled["checks"]["replay"] == "skipped: no code named"
    for point in drilled["points"]:
        assert f"e0001/txid:{point['txid']}" in people.out
    assert "OK" in people.out
    assert "--seed 7" in people.err


@pytest.mark.fault(34)
def test_a_copy_that_crashes_its_reader_is_not_proven_and_that_is_noted(
    backup: ReplicatedDatabase, commands: Commands, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("obelisk_ops.inspect.summary.quick_check", crash_here)

    ran = commands.run("replica", "drill", "run", "--json")

    assert (ran.status, told(ran)["outcome"]) == (4, "inconclusive")
    assert "crashed (SIGSEGV)" in told(ran)["detail"]
    entry = Drillbook(tmp_path / ".obelisk-ops", backup.place.url).entry("run")
    assert entry is not None
    assert entry.last.outcome == "inconclusive"


def test_status_shows_the_last_drill(
    backup: ReplicatedDatabase, commands: Commands, tmp_path: Path
) -> None:
    config = tmp_path / "obelisk-ops.yml"
    config.write_text(
        config.read_text().replace("databases: []", "databases: [{path: run.db}]")
    )
    book = Drillbook(tmp_path / ".obelisk-ops", backup.place.url)
    for at_ms, outcome in enumerate((Outcome.OK, Outcome.FAILED)):
        book.note(Drilled(name="run", at_ms=at_ms, seed=1, outcome=outcome, detail="a gap"))

    ran = commands.run("status", "--json")

    assert ran.status == 10, "a backup that is disproven is not well"
    assert ran.error["code"] == "verification_failed"
    assert ran.error["message"].startswith("run: no supervisor runs; the drill of ")

    [row] = json.loads(ran.out)["databases"]
    assert row["last_drill"] == {
        "at": "1970-01-01T00:00:00.001Z", "outcome": "failed", "points": [],
        "good_at": "1970-01-01T00:00:00.000Z", "detail": "a gap",
    }  # fmt: skip
    assert row["notices"][0]["code"] == "drill_failed"


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["nothing"], 7, "replica_not_found"),
        (["run", "--within", "5"], 2, "invalid_input"),
        (["run", "--code", "no.such.module"], 2, "function_not_found"),
        (["../run"], 3, "config"),
    ],
)
def test_refuses(commands: Commands, arguments: list[str], status: int, code: str) -> None:
    ran = commands.run("replica", "drill", *arguments, "--json")

    assert (ran.status, ran.error["code"]) == (status, code)


def test_too_little_time_is_inconclusive(commands: Commands) -> None:
    ran = commands.run("replica", "drill", "run", "--within", "1ms", "--json")

    assert ran.status == 4
    assert told(ran)["outcome"] == "inconclusive"
    assert ran.error["code"] == "unknown"
    assert "not done within 1ms, the time of each backup" in ran.error["message"]
    assert "--within 30m" in ran.error["hint"]


def test_a_place_without_backups_is_not_found(s3: S3, tmp_path: Path) -> None:
    place = replace(s3.replica(), prefix="nobody/was/here")

    ran = commands_for(place, tmp_path).run("replica", "drill", "--json")

    assert (ran.status, ran.error["code"]) == (7, "replica_not_found")
    assert place.url in ran.error["message"]
    assert "replica.url" in ran.error["hint"]


@pytest.mark.parametrize("cause", ["keys", "away"])
def test_named_or_not_the_same_cause_has_the_same_exit(
    backup: ReplicatedDatabase, tmp_path: Path, cause: str
) -> None:
    away = replace(backup.place, endpoint="http://127.0.0.1:9")
    place = away if cause == "away" else _with_wrong_keys(backup.place, tmp_path)
    commands = commands_for(place, tmp_path)

    named = commands.run("replica", "drill", "run", "--json")
    unnamed = commands.run("replica", "drill", "--json")

    assert told(named)["outcome"] == "inconclusive"
    assert (named.status, named.error["code"]) == (unnamed.status, unnamed.error["code"])
    assert named.status == {"keys": 11, "away": 6}[cause]


def test_prune_looks_at_the_bucket_before_the_drills(
    backup: ReplicatedDatabase, tmp_path: Path
) -> None:
    ran = commands_for(backup.place, tmp_path).run("replica", "prune", "nosuch", "--json")
    assert (ran.status, ran.error["code"]) == (7, "replica_not_found")

    place = _with_wrong_keys(backup.place, tmp_path)
    ran = commands_for(place, tmp_path).run("replica", "prune", "run", "--json")
    assert (ran.status, ran.error["code"]) == (11, "credentials")


def _with_wrong_keys(place: ReplicaSettings, folder: Path) -> ReplicaSettings:
    wrong = folder / "wrong-keys"
    wrong.touch(mode=0o600)
    wrong.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n")
    return replace(place, credentials=f"file:{wrong}")
