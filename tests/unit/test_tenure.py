"""What a refusal says: whether another has the right to write, or only may come to have it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, open_epoch
from obelisk_ops.replica.leases import NOBODY, read_lease, revoke
from tests.buckets import MemoryStore
from tests.unit.test_lease_model import KEYS, Machine
from tests.world import World

Play = Callable[[Machine], Awaitable[None]]


def test_a_claim_that_was_revoked_and_never_taken_decides_nothing(tmp_path: Path) -> None:
    async def play(machine: Machine) -> None:
        store = cast("ObjectStore", machine.store)
        lease, tenure = machine.lease, machine.tenure
        seen = read_lease(store, "p", lease.id)
        assert seen is not None
        revoke(store, "p", seen, "db", 1)
        while claim_of(machine) == 1:  # noqa: ASYNC110 - the clock is the test's
            await asyncio.sleep(0.1)
        while claim_of(machine) is None:
            assert tenure.refusal is None or tenure.is_undecided
            await asyncio.sleep(0.1)

        assert claim_of(machine) == 2

    perform(play, tmp_path)


def test_who_is_superseded_gives_back_what_he_still_claims(tmp_path: Path) -> None:
    async def play(machine: Machine) -> None:
        later = EpochMarker(
            epoch=2, parent=None, database_id=None, host="there", inode=9, opened_at_ms=0,
            owner="theirs",
        )  # fmt: skip
        open_epoch(cast("ObjectStore", machine.store), KEYS, later)
        machine.tenure.supersede(2)
        while machine.owner_in_bucket() != NOBODY:
            assert not machine.tenure.is_undecided
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)

        assert machine.owner_in_bucket() == NOBODY, "and it is not claimed again"
        assert not machine.may_act()

    perform(play, tmp_path)


def perform(play: Play, folder: Path) -> None:
    """Play with one machine that has its epoch, and whose bucket answers."""
    world = World(folder)

    async def all_of_it() -> None:
        machine = Machine("here", folder / "here", MemoryStore(), world, random.Random(1))
        machine.is_troubled = False
        works = [
            asyncio.ensure_future(machine.lease.run()),
            asyncio.ensure_future(look(machine)),
        ]
        while claim_of(machine) is None:  # noqa: ASYNC110 - the clock is the test's
            await asyncio.sleep(0.1)
        async with asyncio.timeout(120):
            await play(machine)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    world.run(all_of_it())


def claim_of(machine: Machine) -> int | None:
    owner = machine.tenure.owner
    return owner.claim if owner else None


async def look(machine: Machine) -> None:
    """Do what a keeper does."""
    while True:
        machine.tenure.look_at_lease(is_at_rest=True)
        machine.tenure.seek(machine.path.stat().st_ino)
        await asyncio.sleep(0.1)
