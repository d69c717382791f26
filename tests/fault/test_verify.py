"""`replica verify` on real replicas: what is wrong, what it costs, what gives it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.replica.epochs import Parent
from tests.commands import Commands, Ran, commands_for
from tests.conftest import S3
from tests.damaging import as_it_was
from tests.replicas import ReplicatedDatabase

POINTS, SNAPSHOT = 6, 4


@pytest.fixture(scope="module")
def made_once(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    """Points 1 to POINTS, and a snapshot besides the single changes at SNAPSHOT."""
    made = ReplicatedDatabase(tmp_path_factory.mktemp("verify"), s3.replica())
    for txid in range(1, POINTS + 1):
        made.fill(20)
        made.ship(*(["-force-snapshot"] if txid == SNAPSHOT else []))
    made.close()
    return made


@pytest.fixture
def backup(made_once: ReplicatedDatabase) -> Iterator[ReplicatedDatabase]:
    """The same for every test, whatever the one before has done to it."""
    with as_it_was(made_once.store, made_once.keys.root):
        yield made_once


@pytest.fixture
def commands(backup: ReplicatedDatabase, tmp_path: Path) -> Commands:
    return commands_for(backup.place, tmp_path)


def finding(ran: Ran) -> dict[str, Any]:
    """Return the one finding that was told."""
    assert ran.status == 10, ran.out
    [only] = json.loads(ran.out)["findings"]
    assert isinstance(only, dict)
    return only


def lost(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(span["from"]["point"], span["to"]["point"]) for span in found["lost"]]


def test_a_sound_backup(commands: Commands) -> None:
    ran = commands.run("replica", "verify", "run", "--json")

    told = ran.told
    assert (told["outcome"], told["findings"], told["notices"]) == ("ok", [], [])
    assert told["checked"] == told["objects"] == POINTS + 1
    assert (told["alone"], told["points"]) == (0, POINTS)


@pytest.mark.fault(12, 13)
@pytest.mark.parametrize("size", [None, 300, 0])
def test_a_damaged_object_costs_the_points_that_need_it(
    backup: ReplicatedDatabase, commands: Commands, tmp_path: Path, size: int | None
) -> None:
    key = backup.ltx(0, 2, 2)
    body = bytearray(backup.store.get(key).body)
    body[200] ^= 4
    backup.store.put(key, bytes(body[:size]))

    found = finding(commands.run("replica", "verify", "run", "--json"))

    assert (found["kind"], found["keys"]) == ("damaged", [key])
    assert lost(found) == [("e0001/txid:2", "e0001/txid:3")], "the snapshot needs none of it"
    assert (found["regained_points"], found["repair"]) == (0, None)
    ran = commands.run("restore", "run", "--at", "txid:5", "--to", tmp_path / "later.db")
    assert ran.status == 0, ran.err
    assert "e0001/txid:2 to e0001/txid:3" in commands.run("replica", "verify", "run").out


def test_what_another_object_holds_comes_back_without_the_damaged_one(
    backup: ReplicatedDatabase, commands: Commands
) -> None:
    key = backup.ltx(9, 1, SNAPSHOT)
    backup.store.put(key, backup.store.get(key).body[:-20])

    found = finding(commands.run("replica", "verify", "run", "--json"))

    assert lost(found) == [("e0001/txid:4", "e0001/txid:6")]
    assert found["regained_points"] == 3
    assert found["repair"] == f"aws s3 rm s3://{backup.place.bucket}/{key}"
    backup.store.delete(key)
    assert commands.run("replica", "verify", "run").status == 0


@pytest.mark.fault(14)
def test_missing_transactions_are_a_gap(backup: ReplicatedDatabase, commands: Commands) -> None:
    backup.store.delete(backup.ltx(0, 2, 2))

    found = finding(commands.run("replica", "verify", "run", "--json"))

    assert (found["kind"], found["keys"]) == ("gap", [])
    assert found["why"] == "the transactions 2 to 2 are missing"


@pytest.mark.fault(16)
def test_without_a_snapshot_it_is_whole_and_that_is_said(
    backup: ReplicatedDatabase, commands: Commands
) -> None:
    backup.store.delete(backup.ltx(9, 1, SNAPSHOT))

    told = commands.run("replica", "verify", "run", "--json").told

    assert told["outcome"] == "ok"
    assert told["notices"] == [
        "e0001 holds no snapshot: a restore needs every other object of it"
    ]


@pytest.mark.fault(17)
@pytest.mark.parametrize("name", [(0, 2, 2), (0, 6, 6), (9, 1, SNAPSHOT)])
def test_an_object_of_another_database(
    s3: S3,
    backup: ReplicatedDatabase,
    commands: Commands,
    tmp_path: Path,
    name: tuple[int, int, int],
) -> None:
    level, first, last = name
    other = ReplicatedDatabase(tmp_path / "other", s3.replica())
    for txid in range(1, last + 1):
        other.fill(20, width=130)
        other.ship(*(["-force-snapshot"] if level and txid == last else []))
    other.close()
    key = backup.ltx(level, first, last)
    backup.store.put(key, other.store.get(other.ltx(level, first, last)).body)

    ran = commands.run("replica", "verify", "run", "--json")

    assert ran.status == 10
    findings = json.loads(ran.out)["findings"]
    assert {found["kind"] for found in findings} <= {"foreign", "contradiction"}
    assert all(key in found["keys"] for found in findings)


def test_parts_are_all_of_it_together(commands: Commands) -> None:
    parts = [
        commands.run("replica", "verify", "run", "--subset", f"{n}/3", "--json").told
        for n in (1, 2, 3)
    ]

    assert sum(part["checked"] for part in parts) == POINTS + 1
    assert [part["subset"] for part in parts] == ["1/3", "2/3", "3/3"]


@pytest.mark.fault(12)
def test_damage_in_a_closed_epoch_can_be_written_off(s3: S3, tmp_path: Path) -> None:
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    for _ in range(3):
        made.fill(20)
        made.ship()
    key = made.ltx(0, 2, 2)
    made.store.put(key, made.store.get(key).body[:-20])
    commands = commands_for(made.place, tmp_path)
    live = finding(commands.run("replica", "verify", "run", "--json"))
    assert live["write_off"] is None, "of the present epoch nothing is removed"
    made.begin_epoch(Parent(epoch=1, txid=3))
    made.fill(20)
    made.ship()
    made.close()
    drill = ("replica", "drill", "run", "--seed")
    seeds = [seed for seed in range(6) if commands.run(*drill, str(seed)).status == 10]
    assert seeds, "a random point of some drill meets it"

    found = finding(commands.run("replica", "verify", "run", "--json"))
    assert found["write_off"] == f"aws s3 rm s3://{made.place.bucket}/{key}"
    assert f"gone    {found['write_off']}" in commands.run("replica", "verify", "run").out
    made.store.delete(key)

    assert [commands.run(*drill, str(seed)).status for seed in seeds] == [0] * len(seeds)
    assert commands.run("replica", "prune", "run", "--older-than", "0s").status == 0
