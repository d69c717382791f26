"""
Databases that are taken over from machine to machine, killed and frozen in between.

As in test_lease_model, but that a machine goes on only with a copy that it has restored, as
an operator does it: claim, wait, restore, open, then supervise. So there is one history, and
what a barrier has confirmed must be in it, at every moment from then on.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import pytest

from obelisk_ops.errors import OpsError, PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, Parent, open_epoch, read_epochs
from obelisk_ops.replica.leases import (
    NOBODY,
    Ownership,
    SeenLease,
    read_lease,
    read_ownership,
    revoke,
    write_ownership,
)
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.storage.sqlite.beside import RESTORED
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.claiming import next_claim
from obelisk_ops.supervise.fencing import Contested, is_revoked, patience_ms
from obelisk_ops.supervise.opening import Presence, settle
from obelisk_ops.supervise.ownership import File, Restored
from obelisk_ops.supervise.sidecar import Sidecar
from tests.buckets import MemoryStore
from tests.unit.test_lease_model import KEYS, FreezableHolder, Machine, let_pass
from tests.world import World

FAULTS_S, PEACE_S = 150.0, 90.0
_NOT_YET = 0


class Successor(Machine):
    """A machine whose file is restored from the bucket before it goes on."""

    def __init__(self, host: str, folder: Path, store: MemoryStore, world: World,
                 draw: random.Random) -> None:  # fmt: skip
        super().__init__(host, folder, store, world, draw)
        self.draw = draw
        self.kept: list[tuple[int, int]] = []  # what was confirmed: epoch, transaction
        self.taken = 0
        self._last: dict[int, int] = {}
        self._shipped_txid: tuple[int, int] | None = None

    def step(self) -> None:
        if not self._taking and self.path.exists():
            super().step()

    _taking = False

    async def ship(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            epoch = self._shipping
            if epoch is not None:
                txid = self._last[epoch] = self._last.get(epoch, 0) + 1
                name = f"{txid:016x}-{txid:016x}.ltx"
                self.store.put(f"{KEYS.level(epoch, 0)}{name}", self.host.encode())
                self._shipped_txid = (epoch, txid)

    async def confirm(self) -> None:
        while True:
            await self.go_on_after(0.1)
            if self._shipped_txid is None:
                continue
            shipped, self._shipped_txid = self._shipped_txid, None
            with suppress(OpsError):
                await self.lease.confirm("db", shipped[0])
                self.kept.append(shipped)

    async def succeed(self, others: Sequence[Machine]) -> None:
        """Do what operators do: take it over where it does not run."""
        while True:
            await asyncio.sleep(self.draw.uniform(2, 30))
            runs = [m for m in (self, *others) if m.tenure.owner]
            if self.tenure.owner or (runs and not self.is_troubled):
                continue
            if not any(key.startswith(KEYS.level(1, 0)) for key in self.store.objects):
                continue  # there is nothing to restore
            work = asyncio.ensure_future(self._take_over())
            is_killed = self.is_troubled and self.draw.random() < 0.3
            await asyncio.wait({work}, timeout=self.draw.uniform(0, 20) if is_killed else None)
            if work.done():
                work.result()
            work.cancel()
            await asyncio.wait({work})
            self._taking = False
            self.tenure = self.new_tenure()

    async def _take_over(self) -> None:
        self._taking, self._shipping = True, None
        self.tenure.end()
        self.tenure.release()
        self.path.unlink(missing_ok=True)
        lock = self.sidecar.lock()
        holder = FreezableHolder(
            self.lease.party, self.fleet.bucket, self.world, self.fleet.log,
            on_halt=lambda _: None,
        )  # fmt: skip
        holder.machine = self
        running = asyncio.ensure_future(holder.run())
        try:
            with suppress(OpsError):
                await self._by(holder)
                self.taken += 1
            with suppress(OpsError):
                await holder.release()
        finally:
            running.cancel()
            lock.release()

    async def _by(self, holder: FreezableHolder) -> None:
        while not holder.may_write():
            await self.go_on_after(0.1)
        lease, ours, revoked_ms = await self._claim(holder)
        await self._wait_for(lease, ours, revoked_ms)
        await self._restore(ours)
        await self._open(holder, ours)

    async def _claim(self, holder: FreezableHolder) -> tuple[SeenLease | None, Ownership, int]:
        call = self.line.call
        while True:
            seen = await call(lambda store: read_ownership(store, KEYS))
            owner = seen.ownership if seen else None
            lease = None
            if owner is not None and owner.lease != NOBODY:
                lease = await call(partial(read_lease, prefix="p", lease_id=owner.lease))
            try:
                if lease and owner and not is_revoked(lease.lease.revoked, "db", owner.claim):
                    await call(
                        partial(revoke, prefix="p", seen=lease, name="db", claim=owner.claim)
                    )
                revoked_ms = self.world.elapsed_ms()
                ours = next_claim(seen, holder, self.world)
                await call(partial(write_ownership, keys=KEYS, ownership=ours, before=seen))
            except PreconditionFailed:
                continue
            return lease, ours, revoked_ms

    async def _wait_for(
        self, lease: SeenLease | None, ours: Ownership, revoked_ms: int
    ) -> None:
        if lease is None:
            return
        until_ms = revoked_ms + patience_ms(lease.lease.ttl_ms)
        while self.world.elapsed_ms() < until_ms:
            with suppress(OpsError):
                seen = await self.line.call(
                    lambda store: read_lease(store, "p", lease.lease.id)
                )
                if seen is None or is_revoked(seen.lease.acknowledged, "db", ours.claim - 1):
                    return
            await self.go_on_after(0.5)

    async def _restore(self, ours: Ownership) -> None:
        points = (await self.line.call(lambda store: read_replica(store, KEYS))).lineage
        await self.go_on_after(self.draw.uniform(0, 8))
        self.path.write_bytes(b"SQLite format 3\0")
        note = Restored(
            name="db", epoch=points[-1].epoch, txid=points[-1].txid, claim=ours.claim,
            at_ms=self.world.now_ms(), inode=self.path.stat().st_ino,
        )  # fmt: skip
        self.sidecar.folder.mkdir(exist_ok=True)
        (self.sidecar.folder / RESTORED).write_bytes(msgspec.json.encode(note))

    async def _open(self, holder: FreezableHolder, ours: Ownership) -> None:
        file = File(name="db", host=self.host, inode=self.path.stat().st_ino)
        presence = Presence(
            boot_id=self.host, socket=None, pid=1, now_ms=self.world.now_ms(), ownership=ours
        )
        holder.hold("db", claim=ours.claim, epoch=_NOT_YET)
        await holder.confirm("db", _NOT_YET)
        opened = await settle(self.fleet.bucket, KEYS, file, self.sidecar, presence)
        holder.hold("db", claim=ours.claim, epoch=opened.owner.epoch)
        await holder.confirm("db", opened.owner.epoch)


def lineage(store: MemoryStore) -> dict[int, int | None]:
    """Return the epochs that the newest descends from, and where each was left."""
    markers = {m.epoch: m for m in read_epochs(cast("ObjectStore", store), KEYS)}
    epoch, spans = max(markers, default=0), {}
    cut: int | None = None
    while epoch in markers:
        spans[epoch] = cut
        parent = markers[epoch].parent
        if parent is None:
            break
        epoch, cut = parent.epoch, parent.txid
    return spans


def check_kept(store: MemoryStore, machines: Sequence[Successor]) -> None:
    spans = lineage(store)
    for machine in machines:
        for epoch, txid in machine.kept:
            cut = spans.get(epoch, 0)
            is_there = cut is None or txid <= cut
            assert is_there, f"{machine.host} confirmed {txid} of {epoch}: {spans}"


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


async def play(folder: Path, world: World, draw: random.Random) -> None:
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
    owners = [m.tenure.owner.epoch for m in machines if m.tenure.owner]
    assert owners == [max(lineage(store))], "in the end one owns it, in the newest epoch"
    assert sum(m.taken for m in machines), "it was taken over"
    assert any(m.kept for m in machines)
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("seed", [7])
def test_what_was_confirmed_is_in_the_newest_history(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path)
    world.run(play(tmp_path, world, random.Random(seed)))


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
