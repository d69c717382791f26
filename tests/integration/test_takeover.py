"""A takeover by the command line, of replicas whose owner is gone already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from obelisk_ops.objectstore import open_store
from obelisk_ops.replica.epochs import Parent, read_epochs
from obelisk_ops.replica.leases import NOBODY, list_leases, read_ownership
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.sidecar import Sidecar
from tests.commands import Commands
from tests.replicas import ReplicatedDatabase, count_rows, make_workflow_tables


@pytest.fixture
def commands(tmp_path: Path, replica: ReplicaSettings) -> Commands:
    (tmp_path / "runs").mkdir()
    place = {
        "url": replica.url, "endpoint": replica.endpoint, "region": replica.region,
        "credentials": replica.credentials,
    }  # fmt: skip
    settings = {
        "replica": place,
        "databases": [{"path": "runs/*.db"}],
        "lease": {"ttl": "2s"},
        "host": "new",
    }
    config = tmp_path / "obelisk-ops.yml"
    config.write_text(yaml.safe_dump(settings))
    return Commands(config)


@pytest.fixture
def source(tmp_path: Path, replica: ReplicaSettings) -> ReplicatedDatabase:
    database = ReplicatedDatabase(tmp_path / "old", replica)
    database.fill(5)
    database.ship()
    return database


def test_what_was_in_flight_may_have_happened(
    commands: Commands, tmp_path: Path, replica: ReplicaSettings
) -> None:
    database = ReplicatedDatabase(tmp_path / "old", replica)
    make_workflow_tables(database.connection)
    database.ship()
    database.close()
    target = tmp_path / "runs" / "run.db"

    done = commands.run("takeover", "run", "--to", target, "--json")

    told = done.told
    assert (told["epoch"], told["from"]["ended"], told["checks"]["logs"]) == (2, "free", "ok")
    in_flight = [(call["execution_id"], call["activity"]) for call in told["in_flight"]]
    assert in_flight == [("busy", "shop.train"), ("busy", "shop.score")]
    markers = read_epochs(database.store, database.keys)
    assert (markers[1].parent, markers[1].host) == (Parent(epoch=1, txid=1), "new")
    note = Sidecar(target).owner()
    assert note is not None
    assert (note.epoch, note.owner, note.lease_deadline_ms) == (2, markers[1].owner, None)
    assert list_leases(database.store, replica.prefix) == {}


def test_an_earlier_state_can_be_gone_on_from(
    commands: Commands, tmp_path: Path, source: ReplicatedDatabase
) -> None:
    source.fill(5)
    source.ship()
    target = tmp_path / "runs" / "run.db"

    told = commands.run("takeover", "run", "--at", "txid:1", "--to", target, "--json").told

    assert told["parent"] == {"epoch": 1, "txid": 1}
    assert count_rows(target) == 5
    points = commands.run("replica", "points", "run", "--json").told["points"]
    assert [(p["txid"], p["orphaned"]) for p in points] == [(1, False), (2, True)]


def test_what_fails_after_the_claim_gives_it_back(
    commands: Commands, tmp_path: Path, source: ReplicatedDatabase, replica: ReplicaSettings
) -> None:
    source.fill(5)
    source.ship()
    source.fill(5)
    source.ship()
    key = source.ltx(0, 2, 2)  # its header is not read before the restore
    source.store.delete(key)
    source.store.put(key, b"no LTX file")
    target = tmp_path / "runs" / "run.db"

    done = commands.run("takeover", "run", "--to", target, "--json")

    assert (done.status, done.error["code"]) == (10, "damaged_object")
    assert not list(target.parent.iterdir()), "nothing is left behind"
    assert len(read_epochs(source.store, source.keys)) == 1
    assert list_leases(source.store, replica.prefix) == {}, "whoever owned it goes on"
    seen = read_ownership(source.store, source.keys)
    assert seen is not None
    assert seen.ownership.lease != NOBODY


@pytest.mark.parametrize(
    ("name", "place", "exists", "status"),
    [
        pytest.param("run", "other/run.db", False, 3, id="where nothing is configured"),
        pytest.param("run", "runs/else.db", False, 3, id="under another name"),
        pytest.param("run", "runs/run.db", True, 8, id="where something is"),
        pytest.param("none", "runs/none.db", False, 7, id="of what there is no backup"),
    ],
)
def test_what_is_refused_changes_nothing(
    commands: Commands, tmp_path: Path, source: ReplicatedDatabase,
    name: str, place: str, *, exists: bool, status: int,
) -> None:  # fmt: skip
    target = tmp_path / place
    if exists:
        target.touch()

    done = commands.run("takeover", name, "--to", target, "--json")

    assert done.status == status, done.err
    assert done.error["hint"]
    assert read_ownership(source.store, source.keys) is None
    assert target.exists() is exists


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        pytest.param("txid:999", 7, id="a state that there is not"),
        pytest.param("2999-01-01T00:00:00Z", 7, id="a moment to come"),
        pytest.param("latest", 6, id="more than there is room for"),
    ],
)
def test_what_is_known_to_fail_fences_nobody(
    commands: Commands, tmp_path: Path, source: ReplicatedDatabase,
    monkeypatch: pytest.MonkeyPatch, moment: str, status: int,
) -> None:  # fmt: skip
    usage, free = shutil.disk_usage, 0 if moment == "latest" else 1 << 40
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=free))
    asked = ("takeover", "run", "--to", tmp_path / "runs" / "run.db", "--at", moment, "--json")

    done, planned = commands.run(*asked), commands.run(*asked, "--dry-run")

    assert (done.status, done.error) == (status, planned.error)
    assert read_ownership(source.store, source.keys) is None
    assert not list((tmp_path / "runs").iterdir())


def test_a_copy_that_stands_is_taken_up_again(
    commands: Commands, tmp_path: Path, source: ReplicatedDatabase
) -> None:
    asked = ("takeover", "run", "--to", tmp_path / "runs" / "run.db", "--json")
    assert commands.run(*asked).told["epoch"] == 2

    again = commands.run(*asked)

    assert again.told["parent"] == {"epoch": 1, "txid": 1}
    assert "left its copy, untouched since: taken up" in again.err
    assert "cut short" not in again.err, "none was"


def test_what_a_killed_takeover_has_written_is_room(
    commands: Commands, tmp_path: Path, source: ReplicatedDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    left, usage = tmp_path / "runs" / ".run.db.restoring-killed", shutil.disk_usage
    left.mkdir()
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: usage(path)._replace(free=0 if left.exists() else 1 << 40),
    )

    done = commands.run("takeover", "run", "--to", tmp_path / "runs" / "run.db", "--json")

    assert done.told["epoch"] == 2


def test_no_lease_is_taken_for_a_backup_that_is_not_there(
    commands: Commands, tmp_path: Path, replica: ReplicaSettings
) -> None:
    ran = commands.run("takeover", "nope", "--to", tmp_path / "runs" / "nope.db", "--json")

    assert ran.error["code"] == "replica_not_found"
    assert list(open_store(replica).list(f"{replica.prefix}/")) == []
    assert not list((tmp_path / "runs").iterdir())
