"""Time limits of blocks and of workflows, alone and together with a cancel."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from datetime import timedelta

import pytest

from obelisk_ops import (
    ExecutionCancelled,
    ExecutionTimedOut,
    activity,
    join_set,
    saga,
    sleep,
    timeout,
    workflow,
)
from obelisk_ops.storage import open_reader
from tests.databases import Database
from tests.engines import NEVER
from tests.world import World, knows, story

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

did: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    did.clear()


@activity
async def note(what: str) -> None:
    did[what] += 1


@workflow
async def short_child() -> None:
    await sleep(50)
    await note("child ended")


def test_o36_a_child_that_takes_too_long_tells_its_parent(world: World) -> None:
    """Its end as timed out, and the parent's inbox row, are in one transaction."""

    @workflow(timeout=timedelta(minutes=1))
    async def slow() -> None:
        try:
            await sleep(3600)
        finally:
            await note("cleaned up")

    @workflow
    async def parent() -> str:
        try:
            await slow()
        except ExecutionTimedOut:
            return "the child was too slow"
        return ""

    async def main() -> tuple[str, list[Database]]:
        async with world.engine(slow) as engine:
            value = await (await engine.submit(parent, id="f")).result()
            return value, [db for db in world.every_crash() if knows(db, "f")]

    value, crashes = world.run(main())

    assert value == "the child was too slow"
    assert world.passed_s == pytest.approx(60, abs=1)
    for db in crashes:
        has_ended = story(db)["f/1"][-1][0] == "finished"
        with closing(open_reader(db)) as reader:
            row = reader.find("f")
            assert row is not None
            assert bool(reader.inbox(row.key)) is has_ended
    assert did["cleaned up"] == 1


def test_o28_a_cancel_is_not_lost_behind_a_time_limit(world: World) -> None:
    """A limit runs out, its clean-up still awaits a child, and then a cancel comes."""

    @workflow
    async def flow() -> str:
        try:
            async with timeout(10), join_set() as calls:
                calls.submit(short_child)
                await sleep(3600)
        except TimeoutError:
            await note("too late")
        await sleep(3600)
        return "was never cancelled"

    async def main() -> None:
        async with world.engine(short_child) as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(20)
            await handle.cancel()
            with pytest.raises(ExecutionCancelled):
                await handle.result()

    world.run(main())

    assert world.passed_s < 100


def test_o28_two_limits_and_a_cancel_each_have_their_effect(world: World) -> None:
    """While a child is awaited that must end by itself: an inner limit, an outer, a cancel."""

    @workflow
    async def flow() -> None:
        try:
            async with timeout(20), timeout(10):
                await short_child()
        finally:
            await note("cleaned up")

    async def main() -> None:
        async with world.engine(short_child) as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(30)
            await handle.cancel()
            with pytest.raises(ExecutionCancelled):
                await handle.result()

    world.run(main())

    assert did == {"child ended": 1, "cleaned up": 1}


def test_o28_limits_that_run_out_while_something_is_awaited_all_count(world: World) -> None:
    """Two limits run out while a compensation runs; the outer one still ends its block."""

    @activity
    async def undo() -> None:
        await asyncio.sleep(100)

    @activity(retry=NEVER)
    async def refuses() -> None:
        raise LookupError

    @workflow
    async def flow() -> str:
        try:
            async with timeout(20):
                try:
                    async with timeout(10), saga() as steps:
                        steps.add(undo)
                        await refuses()
                except (TimeoutError, LookupError):
                    await note("the inner one is over")
                await sleep(3600)
        except TimeoutError:
            return "so is the outer one"
        return "nobody stopped it"

    async def main() -> str:
        async with world.engine() as engine:
            return await (await engine.submit(flow, id="f")).result()

    assert world.run(main()) == "so is the outer one"
    assert world.passed_s < 200
