"""
Databases that are taken over from machine to machine, killed and frozen in between.

As in test_lease_model, but that a machine goes on only with a copy that the real takeover has
made: claim, wait, restore, open, then supervise. Only what Litestream would do is played here:
a copy holds what its restore point held. So there is one history, and what a barrier has
confirmed must be in it, at every moment from then on.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from obelisk_ops.core.when import Latest, Txid, When
from obelisk_ops.errors import OpsError, TargetExists
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, Parent, open_epoch, read_epochs
from obelisk_ops.replica.leases import Ownership, write_ownership
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.restore import service
from obelisk_ops.restore.service import Source
from obelisk_ops.restore.target import check_target
from obelisk_ops.storage.sqlite.beside import RESTORED
from obelisk_ops.supervise import takeover
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.fencing import Contested
from obelisk_ops.supervise.opening import Presence, settle
from obelisk_ops.supervise.ownership import File, Restored
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.takeover import Takeover
from tests.buckets import MemoryStore
from tests.errands import Background, Errand, wait
from tests.unit.test_lease_model import KEYS, FreezableHolder, Line, Machine, let_pass
from tests.world import World

FAULTS_S, PEACE_S = 150.0, 120.0

#: What a file, or a restore point, holds: what was written, and in which epoch.
Rows = list[tuple[int, int]]


class Errands:
    """The bucket as a takeover asks it: each request passes on the line of its machine."""

    def __init__(self, machine: Successor) -> None:
        self.machine = machine

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def ask(*given: Any, **named: Any) -> Any:
            return wait(
                self.machine.own_line.call(lambda s: getattr(s, method)(*given, **named))
            )

        return ask


class Successor(Machine):
    """A machine whose file is restored from the bucket before it goes on."""

    def __init__(self, host: str, folder: Path, store: MemoryStore, world: World,
                 draw: random.Random) -> None:  # fmt: skip
        super().__init__(host, folder, store, world, draw)
        self.draw = draw
        self.own_line: Line = Line(
            self, store, draw, trouble=0.1
        )  # else none would come to its end
        self.rows: Rows = []
        self.kept: Rows = []  # what was confirmed
        self.taken = 0
        self._last: dict[int, int] = {}
        self._is_taking = False

    def step(self) -> None:
        if not self._is_taking and self.path.exists():
            super().step()

    def insist(self) -> None:
        """Stay fenced: here nothing goes on but what was taken over."""

    async def ship(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            epoch = self._shipping
            if epoch is not None:
                txid = self._last[epoch] = self._last.get(epoch, 0) + 1
                self.rows.append((epoch, txid))
                self.store.put(key_of(epoch, txid), msgspec.json.encode(self.rows))
                self._shipped = (epoch, self.lease.id, self.owner_in_bucket())

    async def confirm(self) -> None:
        while True:
            await self.go_on_after(0.1)
            if self._shipped is None:
                continue
            epoch, self._shipped = self._shipped[0], None
            shipped = (epoch, self._last[epoch])
            with suppress(OpsError):
                await self.lease.confirm("db", epoch)
                self.kept.append(shipped)

    @property
    def is_on(self) -> bool:
        """Tell whether it runs, or may be about to: in peace nobody takes it over then."""
        has_hope = self.path.exists() and self.tenure.refusal is None
        return self._is_taking or has_hope

    async def succeed(self, others: Sequence[Successor]) -> None:
        """Do what operators do: take it over where it does not run."""
        while True:
            await asyncio.sleep(self.draw.uniform(2, 30))
            if self.tenure.owner or (not self.is_troubled and any(m.is_on for m in others)):
                continue
            if not any(key.startswith(KEYS.level(1, 0)) for key in self.store.objects):
                continue  # there is nothing to restore
            is_killed = self.is_troubled and self.draw.random() < 0.3
            await self.take_over(self.draw.uniform(0, 20) if is_killed else None)

    async def take_over(self, dies_after_s: float | None = None) -> None:
        """Run the command, to its end if it is not killed; then start the supervisor."""
        self._is_taking, self._shipping = True, None
        self.tenure.end()
        self.tenure.release()
        if self.draw.random() < 0.5:  # else it may find what the one before has left
            self.path.unlink(missing_ok=True)
        bucket = cast("Bucket", self.own_line)
        holder = FreezableHolder(
            self.lease.party, bucket, self.world, self.fleet.log,
            on_halt=lambda _: None,
        )  # fmt: skip
        holder.machine = self
        store = cast("ObjectStore", Errands(self))
        source = Source(store=store, keys=KEYS, bucket=cast("Any", None), environment={})
        work = Takeover(
            source, self.path, lease=holder, bucket=bucket, clock=self.world,
            tell=lambda _: None,
        )  # fmt: skip
        to_its_end = Errand().run(lambda: work.run(Latest(), lambda *_: None))
        running = asyncio.ensure_future(to_its_end)
        await asyncio.wait({running}, timeout=dies_after_s)
        running.cancel()
        try:
            await running
            self.taken += 1
        except TargetExists:
            self.path.unlink()  # as its hint says: it is moved away
        except (OpsError, asyncio.CancelledError):
            pass
        self._is_taking = False
        self.tenure = self.new_tenure()


@pytest.fixture
def playing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let takeovers run on the clock of a test, with copies of what was shipped."""
    monkeypatch.setattr(takeover, "Background", Background)
    monkeypatch.setattr(takeover, "_pause", SimpleNamespace(wait=pause))
    monkeypatch.setattr(service, "foresee", foresee)
    monkeypatch.setattr(service, "restore", restore)
    monkeypatch.setattr(service, "take_up", take_up)


def pause(seconds: float) -> None:
    wait(asyncio.sleep(seconds))


def restore(
    source: Source, _: When, target: Path, *, clock: World, claim: int | None, **__: Any
) -> None:
    """Stand in for Litestream: make a copy of the newest point there is."""
    machine = cast("Errands", source.store).machine
    check_target(target)
    epoch, txid, rows = newest(source.store)
    wait(machine.go_on_after(machine.draw.choice([0.0, 1.0, 8.0])))
    target.write_bytes(b"SQLite format 3\0")
    machine.rows = rows
    at_ms = clock.now_ms()
    os.utime(target, (at_ms // 1000, at_ms // 1000))
    note = Restored(
        name="db", epoch=epoch, txid=txid, claim=claim, at_ms=at_ms, inode=target.stat().st_ino
    )
    machine.sidecar.folder.mkdir(exist_ok=True)
    (machine.sidecar.folder / RESTORED).write_bytes(msgspec.json.encode(note))


def foresee(source: Source, wish: When, target: Path, *, copy: Txid | None, **__: Any) -> None:
    if copy is not None:
        take_up(source, wish, target, copy=copy)


def take_up(source: Source, _: When, target: Path, *, copy: Txid, **__: Any) -> None:
    if newest(source.store)[:2] != (copy.epoch, copy.txid):
        raise TargetExists(f"{target} is another copy", hint="move it away")


def newest(store: ObjectStore) -> tuple[int, int, Rows]:
    """Return the newest restore point, and what it holds."""
    points = read_replica(store, KEYS).lineage
    if not points:
        return 0, 0, []
    epoch, txid = points[-1].epoch, points[-1].txid
    return epoch, txid, rows_of(store.get(key_of(epoch, txid)).body)


def key_of(epoch: int, txid: int) -> str:
    return f"{KEYS.level(epoch, 0)}{txid:016x}-{txid:016x}.ltx"


def rows_of(body: bytes) -> Rows:
    return [(epoch, txid) for epoch, txid in msgspec.json.decode(body)]


def newest_rows(store: MemoryStore) -> Rows:
    """Return what newest() does; where the newest epoch has begun that is its last object."""
    objects = cast("ObjectStore", store)
    markers = read_epochs(objects, KEYS)
    if not markers:
        return []
    level = KEYS.level(markers[-1].epoch, 0)
    last = max((key for key in store.objects if key.startswith(level)), default=None)
    return rows_of(store.objects[last]) if last else newest(objects)[2]


def check_kept(store: MemoryStore, machines: Sequence[Successor]) -> None:
    there = newest_rows(store)
    for machine in machines:
        lost = set(machine.kept) - set(there)
        assert not lost, f"{machine.host} has confirmed {lost}"


def check_histories(store: MemoryStore) -> None:
    """Each epoch holds one history: every transaction is written upon the one before."""
    for marker in read_epochs(cast("ObjectStore", store), KEYS):
        level = KEYS.level(marker.epoch, 0)
        shipped = [rows_of(store.objects[key]) for key in sorted(store.objects) if level in key]
        for before, after in pairwise(shipped):
            assert after[:-1] == before, marker


async def watch(store: MemoryStore, machines: Sequence[Successor]) -> None:
    while True:
        await asyncio.sleep(0.5)
        acting = [machine.host for machine in machines if machine.may_act()]
        assert len(acting) < 2, "two engines act"
        check_kept(store, machines)


async def trouble(machines: Sequence[Successor], draw: random.Random) -> None:
    while True:
        await asyncio.sleep(draw.uniform(0, 3))
        await draw.choice(machines).freeze(draw.choice([0.2, 5.0, 9.0, 12.0, 20.0]))


async def play(folder: Path, world: World, draw: random.Random) -> int:
    """Play it to its end; return how often it was taken over."""
    store = MemoryStore()
    machines = [Successor(host, folder / host, store, world, draw)
                for host in ("left", "middle", "right")]  # fmt: skip
    for machine in machines[1:]:
        machine.path.unlink()
    works = [
        asyncio.ensure_future(work)
        for m in machines
        for work in (m.lease.run(), m.keep(), m.ship(), m.confirm(),
                     m.succeed([other for other in machines if other is not m]))
    ]  # fmt: skip
    works.append(asyncio.ensure_future(watch(store, machines)))
    troubling = asyncio.ensure_future(trouble(machines, draw))
    await let_pass(FAULTS_S, works)
    troubling.cancel()
    for machine in machines:
        machine.is_troubled = False
        await machine.freeze(0)
    await let_pass(PEACE_S, works)
    check_kept(store, machines)
    check_histories(store)
    owners = [m.tenure.owner.epoch for m in machines if m.tenure.owner]
    markers = read_epochs(cast("ObjectStore", store), KEYS)
    assert owners == [markers[-1].epoch], "in the end one owns it, in the newest epoch"
    assert any(m.kept for m in machines)
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    shutil.rmtree(folder, ignore_errors=True)
    return sum(m.taken for m in machines)


@pytest.mark.usefixtures("playing")
@pytest.mark.parametrize("seed", [8])
def test_what_was_confirmed_is_in_the_newest_history(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path)
    assert world.run(play(tmp_path, world, random.Random(seed))), "it was taken over"


def test_who_froze_before_he_opened_opens_nothing_over_another_one(tmp_path: Path) -> None:
    """He had asked whether it was his; then another machine took it, and wrote."""
    world, store = World(tmp_path), MemoryStore()
    objects = cast("ObjectStore", store)
    path = tmp_path / "db.db"
    path.write_bytes(b"SQLite format 3\0")
    sidecar, inode = Sidecar(path), path.stat().st_ino
    frozen, other = (
        Ownership(lease=lease, host=lease, claim=claim, previous="", claimed_at_ms=0)
        for lease, claim in (("frozen", 2), ("other", 3))
    )
    open_epoch(objects, KEYS, marker_of(1, "old", None))
    open_epoch(objects, KEYS, marker_of(2, "other", Parent(epoch=1, txid=1)))
    write_ownership(objects, KEYS, other, None)
    note = Restored(name="db", epoch=1, txid=1, claim=frozen.claim, at_ms=1, inode=inode)
    sidecar.folder.mkdir()
    (sidecar.folder / RESTORED).write_bytes(msgspec.json.encode(note))
    presence = Presence(boot_id="b", socket=None, pid=1, now_ms=2, ownership=frozen)
    file = File(name="db", host="frozen", inode=inode)

    with pytest.raises(Contested):
        # Its requests are made by threads: the clock of a test would overtake them.
        asyncio.run(settle(Bucket(lambda: objects, world), KEYS, file, sidecar, presence))

    assert [marker.epoch for marker in read_epochs(objects, KEYS)] == [1, 2]


def marker_of(epoch: int, host: str, parent: Parent | None) -> EpochMarker:
    return EpochMarker(
        epoch=epoch, parent=parent, database_id=None, host=host, inode=1, opened_at_ms=0,
        owner=host,
    )  # fmt: skip
