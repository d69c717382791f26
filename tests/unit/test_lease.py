"""The holder of a lease against a bucket in memory, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from obelisk_ops.errors import Fenced, S3Unavailable
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica import layout
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.leases import (
    break_lease,
    list_leases,
    read_lease,
    read_ownership,
    revoke,
    write_lease,
)
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.census import Census
from obelisk_ops.supervise.claiming import Owned, claim
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.party import Party
from obelisk_ops.supervise.rivals import FORGOTTEN_MS
from tests.buckets import MemoryStore
from tests.support import PATIENCE_S
from tests.unit.test_supervise_parts import HandClock

TTL_MS = 30_000
KEYS = ReplicaKeys(prefix="p", name="db")


class Silent:
    """A log that nobody reads."""

    def info(self, event: str, **fields: object) -> None:
        pass

    def warning(self, event: str, **fields: object) -> None:
        pass


async def anything() -> None:
    """Nothing speaks against a claim."""


class World:
    """One bucket, one clock, and machines that hold leases."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = HandClock()
        self.halted: list[Holder] = []

    @property
    def objects(self) -> ObjectStore:
        return cast("ObjectStore", self.store)

    def bucket(self) -> Bucket:
        return Bucket(lambda: self.objects, self.clock)

    @asynccontextmanager
    async def holder(
        self, host: str = "here", *, file: Path | None = None, boot_id: str = "boot"
    ) -> AsyncIterator[Holder]:
        party = Party(
            prefix="p", place="p", host=host, boot_id=boot_id, ttl_ms=TTL_MS, file=file
        )
        made = Holder(party, self.bucket(), self.clock, Silent(), on_halt=self.halted.append)
        running = asyncio.ensure_future(made.run())
        await until(made.is_valid)
        try:
            yield made
        finally:
            running.cancel()

    async def pass_time(self, ms: int, holder: Holder) -> None:
        """Move the clock, and let the holder notice."""
        self.clock.ms += ms
        holder.wake()
        for _ in range(20):
            await asyncio.sleep(0.002)

    async def claim(self, holder: Holder, *, is_absent: bool = False) -> object:
        return await claim(
            self.bucket(), KEYS, holder, self.clock, anything, is_absent=is_absent
        )


def scenario(test: Callable[[World], Coroutine[None, None, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test(World()))

    run.__name__ = test.__name__
    return run


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - of what others do, in threads
            await asyncio.sleep(0.001)


@scenario
async def test_it_is_renewed_and_given_back(world: World) -> None:
    async with world.holder() as lease:
        before = lease.deadline_ms
        assert before == world.clock.ms + TTL_MS
        await world.pass_time(10_000, lease)
        assert lease.deadline_ms == before + 10_000
    await lease.release()
    assert list_leases(world.objects, "p") == {}
    assert not lease.is_valid()


@scenario
async def test_it_halts_before_its_time_is_over_and_goes_on_if_nobody_broke_it(
    world: World,
) -> None:
    async with world.holder() as lease:
        first = lease.id
        world.store.is_away = True
        await world.pass_time(26_000, lease)
        assert lease.may_write()
        await world.pass_time(1_100, lease)
        assert world.halted == [lease]
        assert lease.is_valid()
        assert not lease.may_write()
        await world.pass_time(90_000, lease)
        assert not lease.is_valid()
        world.store.is_away = False
        await world.pass_time(5_000, lease)
        await until(lease.may_write)
        assert lease.id == first
        assert world.halted == [lease]


@scenario
async def test_a_broken_one_is_lost_and_another_is_drawn(world: World) -> None:
    async with world.holder() as lease:
        first = lease.id
        lease.hold("db", claim=1, epoch=1)
        seen = read_lease(world.objects, "p", first)
        assert seen is not None
        break_lease(world.objects, "p", seen, by="there")
        with pytest.raises(Fenced):
            await lease.confirm("db", 1)
        await until(lease.is_valid)
        assert lease.id != first
        assert world.halted == [lease]
        with pytest.raises(Fenced):
            await lease.confirm("db", 1)


@scenario
async def test_an_answer_that_was_lost_is_found_out_by_reading(world: World) -> None:
    async with world.holder() as lease:
        first = lease.id
        world.store.lost_answers = 1
        await world.pass_time(10_000, lease)
        await world.pass_time(1_000, lease)
        await until(lambda: lease.deadline_ms == world.clock.ms + TTL_MS)
        assert lease.id == first
        assert world.halted == []


@scenario
async def test_what_was_revoked_is_let_go_and_acknowledged(world: World) -> None:
    async with world.holder() as lease:
        lease.hold("db", claim=3, epoch=2)
        lease.hold("other", claim=1, epoch=1)
        await lease.confirm("db", 2)
        seen = read_lease(world.objects, "p", lease.id)
        assert seen is not None
        revoke(world.objects, "p", seen, "db", 3)

        with pytest.raises(Fenced):
            await lease.confirm("db", 2)
        await lease.confirm("other", 1)
        assert lease.is_revoked("db", 3)
        assert not lease.is_revoked("db", 4)
        lease.let_go("db")

        def acknowledged() -> bool:
            found = read_lease(world.objects, "p", lease.id)
            return found is not None and found.lease.acknowledged == {"db": 3}

        await until(acknowledged)
        assert lease.is_valid()


@scenario
async def test_an_epoch_that_has_ended_is_not_confirmed(world: World) -> None:
    async with world.holder() as lease:
        lease.hold("db", claim=1, epoch=2)
        with pytest.raises(Fenced):
            await lease.confirm("db", 1)
        world.store.is_away = True
        with pytest.raises(S3Unavailable):
            await lease.confirm("db", 2)


@scenario
async def test_many_who_ask_at_once_share_one_look(world: World) -> None:
    async with world.holder() as lease:
        lease.hold("db", claim=1, epoch=1)
        world.store.asked.clear()
        await asyncio.gather(*(lease.confirm("db", 1) for _ in range(100)))
        assert len(world.store.asked) == 1


@scenario
async def test_a_living_one_is_not_touched_a_dead_one_is_broken(world: World) -> None:
    async with world.holder("here") as ours:
        async with world.holder("there") as theirs:
            await world.claim(theirs)
            first = await world.claim(ours)
            assert isinstance(first, Owned)
            assert first.host == "there"
            assert not first.look.is_proven
            await world.pass_time(10_000, theirs)
            await world.pass_time(0, ours)
            again = await world.claim(ours)
            assert isinstance(again, Owned)
            assert again.look.is_proven
        for _ in range(3):  # it does not run any more
            await world.pass_time(13_000, ours)
            assert isinstance(await world.claim(ours), Owned)
        await world.pass_time(1_001, ours)

        assert not isinstance(await world.claim(ours), Owned)

        seen = read_ownership(world.objects, KEYS)
        assert seen is not None
        assert (seen.ownership.lease, seen.ownership.claim) == (ours.id, 2)
        assert list(list_leases(world.objects, "p")) == [ours.id]


@scenario
async def test_what_seems_absent_is_claimed_by_one_request(world: World) -> None:
    async with world.holder() as lease:
        before = len(world.store.asked)

        found = await world.claim(lease, is_absent=True)

        assert not isinstance(found, Owned)
        asked = [what for what, key in world.store.asked[before:] if key == KEYS.ownership]
        assert asked == ["put"]


@scenario
async def test_what_only_seems_absent_is_not_taken(world: World) -> None:
    async with world.holder("there") as theirs, world.holder("here") as ours:
        await world.claim(theirs)

        found = await world.claim(ours, is_absent=True)

        assert isinstance(found, Owned)
        assert found.host == "there"


@scenario
async def test_all_replicas_are_looked_up_at_once(world: World) -> None:
    async with world.holder() as lease:
        await world.claim(lease)
        census = Census("p", world.bucket(), world.clock)
        before = len(world.store.asked)

        lacking = await asyncio.gather(*map(census.lacks, ["db", "other", "third"]))

        assert lacking == [False, True, True]
        assert len(world.store.asked) == before + 1
        world.clock.ms += 30_000
        await census.lacks("db")
        assert len(world.store.asked) == before + 2


@scenario
async def test_a_lease_that_nobody_renews_or_wants_is_swept_away(world: World) -> None:
    async with world.holder("here") as ours, world.holder("there") as theirs:
        async with world.holder("gone"):
            pass
        await ours.rivals.sweep(ours.id, by="here")
        for _ in range(2):
            assert len(list_leases(world.objects, "p")) == 3
            await world.pass_time(FORGOTTEN_MS // 2 + 1, theirs)
            await until(lambda: ours.may_write() and theirs.may_write())
            await ours.rivals.sweep(ours.id, by="here")

        assert set(list_leases(world.objects, "p")) == {ours.id, theirs.id}


@scenario
async def test_a_claim_whose_answer_was_lost_is_ours(world: World) -> None:
    async with world.holder() as lease:
        world.store.lost_answers = 1
        with pytest.raises(S3Unavailable):
            await world.claim(lease)
        found = await world.claim(lease)
        seen = read_ownership(world.objects, KEYS)
        assert seen is not None
        assert seen.ownership == found
        assert seen.ownership.claim == 1


@scenario
async def test_another_process_that_goes_on_with_it_takes_it_away(world: World) -> None:
    async with world.holder() as lease:
        first = lease.id
        seen = read_lease(world.objects, "p", first)
        assert seen is not None
        write_lease(world.objects, "p", replace(seen.lease, mark="x"), seen.etag)
        await world.pass_time(10_000, lease)
        await until(lambda: lease.is_valid() and lease.id != first)
        assert layout.lease("p", first) in world.store.objects, "it is theirs"


@pytest.mark.parametrize(
    ("is_copied", "boot_id", "is_resumed"),
    [
        pytest.param(False, "boot", True, id="the same folder"),
        pytest.param(False, "another", False, id="on another boot"),
        pytest.param(True, "boot", False, id="a copy of the folder"),
    ],
)
def test_who_resumes_a_lease(
    tmp_path: Path, *, is_copied: bool, boot_id: str, is_resumed: bool
) -> None:
    async def run() -> None:
        world = World()
        folders = [tmp_path / "a", tmp_path / "b"]
        for folder in folders:
            folder.mkdir()
        file = folders[0] / "lease.json"
        async with world.holder(file=file) as first:
            pass  # killed
        if is_copied:
            copy = folders[1] / "lease.json"
            copy.write_bytes(file.read_bytes())
            file = copy
        async with world.holder(file=file, boot_id=boot_id) as second:
            assert (second.id == first.id) is is_resumed

    asyncio.run(run())
