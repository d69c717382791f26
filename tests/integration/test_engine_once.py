"""An execution is in memory once, and code that is dropped speaks to nobody."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops import activity, gather, sleep, workflow
from obelisk_ops.errors import CrashLoop
from tests.databases import Database
from tests.engines import kinds
from tests.world import World

begun: list[str] = []
left: list[str] = []
#: the log of ``collects``
SLEEPS_TWICE = ["created", *2 * ["timer_set", "timer_fired"], "finished"]


@activity
async def tidies() -> None:
    pass


@activity
async def lasts() -> None:
    await asyncio.sleep(3600)


@workflow
async def loops() -> None:
    try:
        await lasts()
    finally:
        left.append("loops")
        await tidies()


@workflow
async def rests() -> None:
    await sleep(5)


async def twice() -> None:
    await sleep(3)
    await sleep(2)


@workflow
async def parent() -> None:
    begun.append("parent")
    try:
        await gather(rests(), twice())
        await sleep(3600)
    finally:
        await tidies()


@workflow
async def collects() -> None:
    """Let what nobody refers to be collected in its own turn."""
    await sleep(10)
    gc.collect()
    await sleep(1)


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Nothing is collected before its moment."""
    begun.clear()
    left.clear()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_child_that_ends_just_when_a_timer_rings_wakes_its_parent_once(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, keep_loaded=0)

    async def main() -> list[str]:
        async with world.engine(parent, rests, collects) as engine:
            handle = await engine.submit(parent)
            witness = await engine.submit(collects)
            await witness.result()
            await handle.cancel()
            return kinds(witness.events())

    assert world.run(main()) == SLEEPS_TWICE
    assert begun == 4 * ["parent"]  # at first, after 3 s, after 5 s, and for its end


def test_what_is_parked_for_its_crashes_is_over_before_other_code_runs(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def dies() -> Database:
        async with world.engine(loops, max_crashes=1) as engine:
            await engine.submit(loops, id="f")
            await asyncio.sleep(1)
            return world.crash()

    db = world.run(dies())
    left.clear()

    async def parks() -> list[str]:
        async with world.engine(loops, collects, db=db, max_crashes=1) as engine:
            with pytest.raises(CrashLoop):
                await engine.handle("f").result()
            assert left == ["loops"]
            witness = await engine.submit(collects)
            await witness.result()
            return kinds(witness.events())

    assert world.run(parks()) == SLEEPS_TWICE
