"""Pruning real replicas: what is promised stays, Litestream is not disturbed, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Latest
from obelisk_ops.errors import ClockError, Unproven
from obelisk_ops.objectstore import ObjectInfo, ObjectStore
from obelisk_ops.replica.epochs import Parent
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.restore.prune.plan import Proof
from obelisk_ops.restore.prune.service import Pruned, prune
from obelisk_ops.restore.service import Source, restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.restore.verify.service import verify
from tests.commands import commands_for
from tests.conftest import S3
from tests.faults import Skewed, SwallowedDelete
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase, count_rows
from tests.support import wait_until

CLOCK = SystemClock()
HOUR_MS = 3_600_000


class Aged:
    """A store in which everything arrived an hour earlier than it did."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        for info in self._store.list(prefix, after=after):
            yield replace(info, modified_ms=info.modified_ms - HOUR_MS)


def aged(source: Source) -> Source:
    return replace(source, store=cast("ObjectStore", Aged(source.store)))


def pruned(source: Source, *, epoch: int = 1, applied: bool = True) -> Pruned:
    proof = Proof(at_ms=CLOCK.now_ms(), epoch=epoch)
    return prune(aged(source), proof, 60.0, is_applied=applied, clock=CLOCK)


def rows_of_latest(source: Source, target: Path) -> int:
    restore(source, Latest(), target, clock=CLOCK, progress=lambda _written, _expected: None)
    return count_rows(target)


def newest(source: Source) -> int:
    return read_replica(source.store, source.keys).points[-1].txid


@pytest.fixture
def database(s3: S3, tmp_path: Path) -> ReplicatedDatabase:
    """Three single changes, a snapshot, three more and another snapshot."""
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    for txid in range(1, 7):
        made.fill(5)
        made.ship(*(["-force-snapshot"] if txid in (3, 6) else []))
    return made


def test_litestream_goes_on_beside_it(database: ReplicatedDatabase, tmp_path: Path) -> None:
    source = open_source(database.place, "run")
    with database.replicating(levels_s=[1], snapshot_s=60, retention_s=600):
        database.fill(5)
        wait_until(lambda: newest(source) > 6, 15, "Litestream goes on")
        assert pruned(source, applied=False).plan.doomed
        done = pruned(source)
        assert done.survived == ()
        reached = newest(source)
        database.fill(5)
        wait_until(lambda: newest(source) > reached, 15, "it goes on behind the pruning")
    database.close()

    left = {file.key for file in read_replica(source.store, source.keys).epochs[0].files}
    assert left.isdisjoint(file.key for file in done.plan.doomed)
    found = verify(source, None, clock=CLOCK, watch=lambda _done, _total: None)
    assert found.findings == ()
    assert rows_of_latest(source, tmp_path / "copy.db") == 40


def test_a_closed_epoch_goes_whole(database: ReplicatedDatabase, tmp_path: Path) -> None:
    database.begin_epoch(Parent(epoch=1, txid=6))
    database.fill(5)
    database.ship()
    database.close()
    source = open_source(database.place, "run")

    with pytest.raises(Unproven, match="the last good drill of 'run' is of e0001"):
        pruned(source, epoch=1)
    done = pruned(source, epoch=2)

    assert {file.epoch for file in done.plan.doomed} == {1}
    replica = read_replica(source.store, source.keys)
    assert [(e.epoch, len(e.files)) for e in replica.epochs] == [(1, 0), (2, 1)]
    assert replica.gaps == ()
    assert rows_of_latest(source, tmp_path / "copy.db") == 35


@pytest.mark.fault(10)
def test_what_survives_its_deletion_is_told(s3: S3, database: ReplicatedDatabase) -> None:
    database.close()
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy:
        source = open_source(replace(database.place, endpoint=proxy.endpoint), "run")
        with proxy.fault(SwallowedDelete()):
            done = pruned(source)

    assert set(done.survived) == set(done.plan.doomed) != set()


@pytest.mark.fault(7)
def test_clocks_that_differ_prune_nothing(s3: S3, database: ReplicatedDatabase) -> None:
    database.close()
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy:
        source = open_source(replace(database.place, endpoint=proxy.endpoint), "run")
        with proxy.fault(Skewed(-300)), pytest.raises(ClockError):
            pruned(source)

    assert len(read_replica(database.store, database.keys).epochs[0].files) == 8


def test_the_command_needs_a_good_drill_and_is_dry(
    database: ReplicatedDatabase, tmp_path: Path
) -> None:
    database.close()
    commands = commands_for(database.place, tmp_path)

    refused = commands.run("replica", "prune", "run", "--json")
    assert (refused.status, refused.error["code"]) == (4, "unknown")
    config = tmp_path / "obelisk-ops.yml"
    assert refused.error["hint"] == f"obelisk-ops -c {config} replica drill run"

    assert commands.run("replica", "drill", "run").status == 0
    told = commands.run("replica", "prune", "run", "--older-than", "0s", "--json").told
    assert (told["applied"], told["objects"], told["survived"]) == (False, 0, [])
    assert told["epochs"][0]["live"] is True
    assert "would go" in commands.run("replica", "prune", "run").err

    key = database.ltx(0, 6, 6)
    database.store.put(key, database.store.get(key).body[:-1])
    database.store.delete(database.ltx(9, 1, 6))
    assert commands.run("replica", "drill", "run").status == 10
    refused = commands.run("replica", "prune", "run", "--apply", "--json")
    assert (refused.status, refused.error["code"]) == (10, "verification_failed")
