"""
Random damage to a real replica: what is wrong is found, and what is called sound is the truth.

A replica that Litestream has shipped, compacted and snapshotted is copied into memory, and
damaged there in every way, again and again. States are put together from objects as
Litestream's walk takes them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import DamagedObject
from obelisk_ops.litestream.frames import LtxReader
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import EpochHistory, walk
from obelisk_ops.replica.reading import list_epoch, read_replica
from obelisk_ops.restore.service import Source
from obelisk_ops.restore.source import open_source
from obelisk_ops.restore.verify.service import Verified, verify
from tests.buckets import MemoryStore
from tests.conftest import S3
from tests.damaging import DAMAGES, Bodies, bodies_of
from tests.replicas import ReplicatedDatabase
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("damage")

SEED = int(os.environ.get("DAMAGE_SEED", "0")) or time.time_ns() % 1_000_000

State = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Sound:
    """A replica before anything happened to it, and another database's."""

    source: Source
    ours: Bodies
    theirs: Bodies
    truth: dict[int, State]


@pytest.fixture(scope="module")
def sound(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder, place = tmp_path_factory.mktemp("damage"), s3.replica()
    run, other = (ReplicatedDatabase(folder / n, place, n) for n in ("run", "other"))
    hurry: dict[str, Any] = {
        "levels_s": [1, 2], "snapshot_s": 3, "retention_s": 600, "l0_s": 3,
    }  # fmt: skip
    for database in (run, other):
        database.fill(120)  # two databases without content are hardly two
    with run.replicating(**hurry), other.replicating(**hurry):

        def have_grown() -> bool:
            for database in (run, other):
                database.fill(3)
            return all(has_everything(database) for database in (run, other))

        wait_until(have_grown, 60, "files of every kind")
    for database in (run, other):
        database.close()
    ours = bodies_of(run.store, run.keys.root)
    theirs = {
        key.replace(other.keys.root, run.keys.root): body
        for key, body in bodies_of(other.store, other.keys.root).items()
    }
    source = open_source(place, "run")
    history = history_of(source, ours)
    truth = {point.txid: must(state_at(history, ours, point.txid)) for point in history.points}
    return Sound(source=source, ours=ours, theirs=theirs, truth=truth)


def has_everything(database: ReplicatedDatabase) -> bool:
    """Tell whether there are files of every level, and a snapshot that others follow."""
    files = list_epoch(database.store, database.keys, 1)
    snapshots = sorted(file.max_txid for file in files if file.level == 9)
    compacted = max((file.max_txid for file in files if file.level == 2), default=0)
    return len(snapshots) > 1 and compacted > snapshots[1]


def in_memory(source: Source, bodies: Bodies) -> Source:
    store = MemoryStore()
    store.objects.update(bodies)
    return replace(source, store=cast("ObjectStore", store))


def history_of(source: Source, bodies: Bodies) -> EpochHistory:
    memory = in_memory(source, bodies)
    [history] = read_replica(memory.store, memory.keys).epochs
    return history


def state_at(history: EpochHistory, bodies: Bodies, txid: int) -> State | None:
    """Return the pages that a restore ends with; None if it would fail."""
    state: State = {}
    files = walk(history.files, txid)
    if not files or files[-1].max_txid != txid:
        return None
    for file in files:
        try:
            reader = LtxReader([bodies[file.key]], file.key)
            state |= dict(reader.pages())
        except DamagedObject:
            return None
        commit = reader.header.commit
        state = {number: page for number, page in state.items() if number <= commit}
    return state


def must(state: State | None) -> State:
    assert state is not None
    return state


def verified(source: Source, bodies: Bodies) -> Verified:
    return verify(
        in_memory(source, bodies), None, clock=SystemClock(), watch=lambda _done, _total: None
    )


def lost(found: Verified) -> set[int]:
    """Return the transactions that verify gives up."""
    return {
        txid
        for finding in found.findings
        for span in finding.cost.lost
        for txid in range(span.first.txid, span.last.txid + 1)
    }


def test_a_sound_replica_has_no_findings(sound: Sound) -> None:
    found = verified(sound.source, sound.ours)

    assert found.findings == ()
    levels = {file.level for file in history_of(sound.source, sound.ours).files}
    assert levels == {0, 1, 2, 9}, "the campaign has something to damage at every level"
    assert len(found.alone) < found.objects / 5
    assert found.points == len(sound.truth)


@pytest.mark.fault(12, 13, 14, 16, 17)
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rounds", [150, pytest.param(5_000, marks=pytest.mark.chaos)])
def test_what_is_called_sound_is_the_truth(sound: Sound, rounds: int) -> None:
    draw = Random(SEED)
    caught = 0
    for number in range(rounds):
        damaged = dict(sound.ours)
        chosen = draw.sample(DAMAGES, draw.choice([1, 1, 1, 2]))
        what = [damage(damaged, sound.theirs, draw) for damage in chosen]
        # What a second damage has made the only one of its kind is held against nothing.
        is_single = len(chosen) == 1
        said = f"DAMAGE_SEED={SEED}, round {number}: {'; '.join(what)}"
        try:
            found = verified(sound.source, damaged)
        except DamagedObject:
            caught += 1  # the marker of the epoch
            continue
        caught += bool(found.findings)
        alone = set(found.alone)
        history = history_of(sound.source, damaged)
        for point in history.points:
            if alone.intersection(walk(history.files, point.txid)) or point.txid in lost(found):
                continue
            if is_single or not found.findings:
                state = state_at(history, damaged, point.txid)
                assert state == sound.truth[point.txid], f"{said}: {point.txid} is not sound"
    assert caught > rounds / 3
