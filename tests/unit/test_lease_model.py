"""
Two supervisors that own one replica in turn, under anything that time and networks can do.

The real leases, claims, epochs and notes, on a clock that jumps from event to event; only
the bucket is in memory, and its requests come late, twice too late, or without an answer.
Machines freeze for longer than their time. What must hold at every moment:

- at most one machine's engine may start anything;
- no epoch holds objects of two machines;
- what was confirmed was written while the replica was one's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec
import pytest

from obelisk_ops.errors import ObjectNotFound, OpsError, S3Unavailable
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.replica.epochs import read_epochs
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.supervise.bucket import TIMEOUT_S, Bucket
from obelisk_ops.supervise.census import Census
from obelisk_ops.supervise.descriptors import Descriptors
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.party import Party
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.tenure import Tenure
from tests.buckets import MemoryStore
from tests.unit.test_lease import Silent
from tests.world import World

T = TypeVar("T")

TTL_MS = 6_000
KEYS = ReplicaKeys(prefix="p", name="db")
FAULTS_S = 240.0
PEACE_S = 60.0


class Line:
    """The way of one machine to the bucket; stands in for Bucket."""

    def __init__(
        self, machine: Machine, store: MemoryStore, draw: random.Random, trouble: float = 1.0
    ) -> None:
        self._machine, self._store, self._draw = machine, store, draw
        self._trouble = trouble
        self._late: set[asyncio.Task[None]] = set()
        self.problem = None

    def is_ready(self) -> bool:
        return True

    def reconnect(self) -> None:
        pass

    async def call(self, request: Callable[[ObjectStore], T], **_: bool) -> T:
        store = cast("ObjectStore", self._store)
        fate = self._draw.random() / self._trouble if self._machine.is_troubled else 1.0
        await asyncio.sleep(self._draw.choice([0.01, 0.05, 0.5]))
        if fate < 0.1:  # it is carried out long after it was given up
            late = asyncio.ensure_future(self._later(lambda: request(store)))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
        if fate < 0.2:
            await self._machine.go_on_after(TIMEOUT_S)
            raise S3Unavailable("no answer")
        try:
            found = request(store)
        except OpsError:
            await self._machine.go_on_after(0.01)
            raise
        await self._machine.go_on_after(TIMEOUT_S if fate < 0.3 else 0.01)
        if fate < 0.3:
            raise S3Unavailable("the answer was lost")
        return found

    async def look(self, key: str) -> Fetched | None:
        with suppress(ObjectNotFound):
            return await self.call(lambda store: store.look(key))
        return None

    async def _later(self, request: Callable[[], object]) -> None:
        await asyncio.sleep(self._draw.uniform(0, 4 * TTL_MS / 1000))
        try:
            request()
        except OpsError:
            return


class FreezableHolder(Holder):
    """A lease whose holder stands still while its machine does."""

    machine: Machine

    def _step(self) -> None:
        if not self.machine.is_frozen:
            super()._step()

    def _rest_ms(self) -> int:
        return 50 if self.machine.is_frozen else super()._rest_ms()


class Machine:
    """One machine: a file, its supervisor, and a Litestream that ships."""

    def __init__(
        self, host: str, folder: Path, store: MemoryStore, world: World, draw: random.Random
    ) -> None:
        self.host, self.store, self.world = host, store, world
        self.is_troubled = True
        self.confirmed = 0
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._shipping: int | None = None
        self._shipped: tuple[int, str, str] | None = None
        self._serial = 0
        folder.mkdir()
        path = folder / "db.db"
        path.write_bytes(b"SQLite format 3\0")
        self.path, self.sidecar = path, Sidecar(path)
        self.line = self.new_line(draw)
        party = Party(prefix="p", place="p", host=host, boot_id=host, ttl_ms=TTL_MS)
        self.lease = FreezableHolder(
            party, cast("Bucket", self.line), world, Silent(), on_halt=lambda _: self._kill()
        )
        self.lease.machine = self
        fleet = SimpleNamespace(
            replica=SimpleNamespace(prefix="p"), bucket=self.line, lease=self.lease, host=host,
            control="s.sock", clock=world, log=Silent(), seekers=asyncio.Semaphore(1),
            census=Census("p", cast("Bucket", self.line), world), files=Descriptors(),
            files_each=1,
        )  # fmt: skip
        self.fleet = cast("Fleet", fleet)
        self.tenure = self.new_tenure()

    def new_line(self, draw: random.Random) -> Line:
        return Line(self, self.store, draw)

    def new_tenure(self) -> Tenure:
        return Tenure(
            "db", self.path, sidecar=self.sidecar, fleet=self.fleet, on_news=lambda: None
        )

    @property
    def is_frozen(self) -> bool:
        return not self._thawed.is_set()

    async def freeze(self, seconds: float) -> None:
        self._thawed.clear()
        await asyncio.sleep(seconds)
        self._thawed.set()

    async def go_on_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._thawed.wait()

    async def keep(self) -> None:
        """Do what a keeper does."""
        while True:
            await self.go_on_after(0.3)
            self.step()

    def step(self) -> None:
        """Look once, as a keeper does."""
        self.tenure.look_at_lease(is_at_rest=self._shipping is None)
        owner = self.tenure.owner
        may_write = owner is not None and self.lease.may_write()
        self._shipping = owner.epoch if owner and may_write else None
        refusal = self.tenure.refusal
        if refusal and "was opened by" in refusal.text:
            self.insist()
        if owner is None:
            self.tenure.seek(self.path.stat().st_ino)

    def insist(self) -> None:
        """Decide, as a person does, that this file is to go on after all."""
        (self.sidecar.folder / "owner.json").unlink(missing_ok=True)

    async def ship(self) -> None:
        """Do what a Litestream does: it goes on while its supervisor is frozen."""
        while True:
            await asyncio.sleep(0.2)
            if self._shipping is not None:
                self._serial += 1
                key = f"{KEYS.epoch(self._shipping)}{self._serial:08d}-{self.host}"
                self.store.put(key, b"")
                self._shipped = (self._shipping, self.lease.id, self.owner_in_bucket())

    async def confirm(self) -> None:
        """Do what a barrier does: make sure that what was shipped counts."""
        while True:
            await self.go_on_after(0.1)
            if self._shipped is None:
                continue
            (epoch, lease, owner), self._shipped = self._shipped, None
            try:
                await self.lease.confirm("db", epoch)
            except OpsError:
                continue
            assert owner == lease, "confirmed, and it was somebody else's when it was shipped"
            self.confirmed += 1

    def owner_in_bucket(self) -> Any:
        return msgspec.json.decode(self.store.objects[KEYS.ownership])["lease"]

    def may_act(self) -> bool:
        """Tell whether the engine beside the file may start something."""
        note = self.sidecar.owner()
        return (
            note is not None
            and note.lease_deadline_ms is not None
            and self.world.elapsed_ms() < note.lease_deadline_ms
        )

    def _kill(self) -> None:
        self._shipping = None


async def watch(machines: list[Machine]) -> None:
    while True:
        await asyncio.sleep(0.1)
        acting = [machine.host for machine in machines if machine.may_act()]
        assert len(acting) < 2, "two engines act"


async def trouble(machines: list[Machine], draw: random.Random) -> None:
    while True:
        await asyncio.sleep(draw.uniform(0, 3))
        await draw.choice(machines).freeze(draw.choice([0.2, 5.0, 9.0, 12.0, 20.0]))


async def play(folder: Path, world: World, draw: random.Random) -> None:
    store = MemoryStore()
    machines = [Machine(host, folder / host, store, world, draw) for host in ("left", "right")]
    works = [
        asyncio.ensure_future(work)
        for machine in machines
        for work in (machine.lease.run(), machine.keep(), machine.ship(), machine.confirm())
    ]
    works.append(asyncio.ensure_future(watch(machines)))
    troubling = asyncio.ensure_future(trouble(machines, draw))
    await let_pass(FAULTS_S, works)
    troubling.cancel()
    for machine in machines:
        machine.is_troubled = False
        await machine.freeze(0)
    await let_pass(PEACE_S, works)
    _check(store, machines)
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)


async def let_pass(seconds: float, works: Sequence[asyncio.Task[Any]]) -> None:
    done, _ = await asyncio.wait(works, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for work in done:
        work.result()  # raises what it found


def _check(store: MemoryStore, machines: list[Machine]) -> None:
    markers = read_epochs(cast("ObjectStore", store), KEYS)
    assert [marker.epoch for marker in markers] == list(range(1, len(markers) + 1))
    for marker in markers:
        shipped = [key for key in store.objects if key.startswith(KEYS.epoch(marker.epoch))]
        assert {key.rpartition("-")[2] for key in shipped} <= {marker.host}
    owners = [machine.host for machine in machines if machine.tenure.owner]
    assert owners == [markers[-1].host], "in the end one owns it, in its own epoch"
    assert any(machine.confirmed for machine in machines)


@pytest.mark.parametrize("seed", [1, 3, 7])
def test_two_supervisors_never_own_one_replica(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path)
    world.run(play(tmp_path, world, random.Random(seed)))
