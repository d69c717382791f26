"""Pausing: nothing new starts, nothing is lost, and it goes on where it was."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from obelisk_ops import (
    ExecutionCancelled,
    Handle,
    Retry,
    Signal,
    activity,
    join_set,
    sleep,
    stub,
    workflow,
)
from obelisk_ops.core.ports import State
from obelisk_ops.errors import ExecutionEnded, OpsError
from tests.databases import Database
from tests.engines import kinds, read_log
from tests.world import World, check_tables, knows

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

number = Signal("number", int)
did: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    did.clear()


@activity
async def takes(seconds: int) -> int:
    did[f"takes {seconds}"] += 1
    await asyncio.sleep(seconds)
    return seconds


@stub
def decide() -> str:
    """Somebody decides."""
    raise NotImplementedError


@workflow
async def child() -> str:
    await sleep(10)
    return "child"


@workflow
async def steps() -> list[int]:
    return [await takes(10), await takes(20)]


def test_o32_a_pause_lets_what_runs_end_and_starts_nothing(world: World) -> None:
    """The attempt ends and its result is kept; the next call begins after the pause."""

    async def main() -> list[int]:
        async with world.engine() as engine:
            handle = await engine.submit(steps, id="f")
            await asyncio.sleep(1)
            assert await handle.pause() is True
            assert await handle.pause() is False
            assert handle.status().state is State.PAUSED
            assert kinds(handle.events())[-1] == "paused"
            await asyncio.sleep(500)
            assert did == {"takes 10": 1}
            assert handle.status().state is State.PAUSED
            assert await handle.unpause() is True
            assert await handle.unpause() is False
            return await handle.result()

    assert world.run(main()) == [10, 20]
    assert world.passed_s == pytest.approx(501 + 20, abs=1)
    check_tables(world.db)


def test_p45_a_pause_survives_a_restart(world: World) -> None:
    """Engines come and go; it stays paused, until somebody lets it go on."""

    async def begin() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(steps, id="f")
            await handle.pause()

    async def look() -> None:
        async with world.engine(steps) as engine:
            await asyncio.sleep(100)
            assert engine.handle("f").status().state is State.PAUSED

    async def go_on() -> list[int]:
        async with world.engine(steps) as engine:
            handle: Handle[list[int]] = engine.handle("f")
            await handle.unpause()
            return await handle.result()

    world.run(begin())
    for _ in range(2):
        world.run(look())
    check_tables(world.db)
    assert world.run(go_on()) == [10, 20]
    assert did["takes 20"] == 1
    check_tables(world.db)


@pytest.mark.behaviour("P45")
@pytest.mark.parametrize("restarts", [False, True])
def test_o24_what_arrives_in_a_pause_is_told_after_it(world: World, *, restarts: bool) -> None:
    """A signal, a result from outside, a child's end, an activity's: all kept, in order."""

    @workflow
    async def flow() -> list[Any]:
        async with join_set() as calls:
            calls.submit(takes, 5)
            calls.submit(child)
            calls.submit(decide)
            first = [await number.receive(), await number.receive()]
            return [*first, *[answer async for answer in calls]]

    async def paused() -> None:
        async with world.engine(child) as engine:
            handle = await engine.submit(flow, id="f")
            await handle.pause()
            await handle.signal(number, 1)
            await asyncio.sleep(20)
            await engine.stub("f/3", "yes")
            await handle.signal(number, 2)
            assert handle.status().state is State.PAUSED
            if not restarts:
                await unpaused(handle)

    async def restarted() -> None:
        async with world.engine(flow, child) as engine:
            await unpaused(engine.handle("f"))

    async def unpaused(handle: Handle[list[Any]]) -> None:
        await handle.unpause()
        assert await handle.result() == [1, 2, 5, "child", "yes"]

    world.run(paused())
    if restarts:
        check_tables(world.db)
        world.run(restarted())
    check_tables(world.db)


def test_p45_a_timer_stays_due_in_a_pause(world: World) -> None:
    """One that came due within it fires when the pause ends; another one at its time."""

    async def main() -> float:
        async with world.engine() as engine:
            handle = await engine.submit(naps, id="f")
            await asyncio.sleep(1)
            await handle.pause()
            await asyncio.sleep(20)
            assert kinds(handle.events()).count("timer_fired") == 0
            await handle.unpause()
            await handle.result()
            return world.passed_s

    assert world.run(main()) == pytest.approx(60, abs=0.5)
    check_tables(world.db)


@workflow
async def naps() -> None:
    async with join_set() as timers:
        timers.submit_delay(10)
        timers.submit_delay(60)
        async for _ in timers:
            pass


def test_p45_a_retry_waits_for_the_end_of_a_pause(world: World) -> None:
    """No attempt is made within it, however due."""

    @activity(retry=Retry(max_attempts=2, jitter=0))
    async def flaky() -> int:
        did["flaky"] += 1
        if did["flaky"] == 1:
            await asyncio.sleep(5)
            raise ConnectionError
        return activity.attempt()

    @workflow
    async def flow() -> int:
        return await flaky()

    async def main() -> int:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(1)
            await handle.pause()
            await asyncio.sleep(100)
            assert did["flaky"] == 1
            await handle.unpause()
            return await handle.result()

    assert world.run(main()) == 2
    check_tables(world.db)


def test_o31_a_cancel_ends_a_pause_and_no_pause_ends_a_cancel(world: World) -> None:
    """What is paused can be cancelled, and cleans up; what is being cancelled goes on."""

    @workflow
    async def cleans_up() -> None:
        try:
            await sleep(3600)
        finally:
            await takes(30)

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(cleans_up, id="f")
            await handle.pause()
            assert await handle.cancel() is True
            assert handle.status().state is State.CANCELLING
            with pytest.raises(OpsError) as caught:
                await handle.pause()
            assert caught.value.exit_status == 8
            with pytest.raises(ExecutionCancelled):
                await handle.result()
            with pytest.raises(ExecutionEnded):
                await handle.pause()

    world.run(main())

    assert did == {"takes 30": 1}
    assert world.passed_s == pytest.approx(30, abs=1)
    check_tables(world.db)


def test_o24_a_crash_around_a_pause_loses_nothing(world: World) -> None:
    """Killed at any moment of pausing and going on, the rest ends with the same value."""

    async def main() -> list[Database]:
        async with world.engine() as engine:
            handle = await engine.submit(steps, id="f")
            await asyncio.sleep(1)
            await handle.pause()
            await asyncio.sleep(15)
            await handle.unpause()
            await asyncio.sleep(1)
            await handle.pause()
            await handle.unpause()
            await handle.result()
            return [db for db in world.every_crash() if knows(db, "f")]

    async def go_on(db: Database) -> list[int]:
        async with world.engine(steps, db=db) as engine:
            handle: Handle[list[int]] = engine.handle("f")
            with suppress(ExecutionEnded):
                await handle.unpause()  # a pause may wait in the mailbox, too
            return await handle.result()

    for db in world.run(main()):
        assert world.run(go_on(db)) == [10, 20]
        assert kinds(read_log(db, "f")).count("returned") == 2
        check_tables(db)
