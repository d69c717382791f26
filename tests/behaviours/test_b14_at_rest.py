"""Executions that do not run just now: parked, not begun, paused beyond their limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from obelisk_ops import (
    ExecutionCancelled,
    ExecutionTimedOut,
    Signal,
    activity,
    schedule,
    sleep,
    workflow,
)
from obelisk_ops.core.ports import State
from tests.engines import kinds
from tests.world import World, check_tables

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

number = Signal("number", int)
did: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    did.clear()


@activity
async def note(what: str) -> None:
    did[what] += 1


@workflow
async def naps() -> str:
    await sleep(100)
    return "woke"


@workflow
async def schedules(count: int) -> list[str]:
    return [str(schedule(naps, after=1000)) for _ in range(count)]


def version(*, is_changed: bool) -> Any:
    @workflow(name="flow")
    async def flow() -> int | None:
        if is_changed:
            await note("something else")
        value = await number.receive()
        await sleep(50)
        return value

    return flow


async def begun(world: World) -> None:
    async with world.engine() as engine:
        await engine.submit(version(is_changed=False), id="f")


@pytest.mark.behaviour("P29")
def test_o43_a_signal_for_what_is_parked_is_kept(world: World) -> None:
    """Sent while the code does not fit, it is received when the code is mended."""

    async def changed() -> None:
        async with world.engine(version(is_changed=True)) as engine:
            handle = engine.handle("f")
            await handle.signal(number, 7)
            await asyncio.sleep(1)
            assert handle.status().state is State.PARKED

    world.run(begun(world))
    world.run(changed())
    check_tables(world.db)

    assert world.finish(world.db, version(is_changed=False)) == 7
    check_tables(world.db)


@pytest.mark.parametrize("wait_s", [0, 1])
def test_p42_what_is_parked_can_be_cancelled(world: World, wait_s: float) -> None:
    """Its code cannot be told; it ends as cancelled, also if the cancel finds that out."""

    async def changed() -> None:
        async with world.engine(version(is_changed=True)) as engine:
            handle = engine.handle("f")
            await asyncio.sleep(wait_s)
            assert await handle.cancel() is True
            with pytest.raises(ExecutionCancelled):
                await handle.result()

    world.run(begun(world))
    world.run(changed())

    assert did == {}
    check_tables(world.db)


@pytest.mark.behaviour("P42")
def test_o51_what_begins_later_can_be_cancelled_or_paused_before(world: World) -> None:
    """Cancelled it never begins; paused beyond its time it begins when it goes on."""

    async def main() -> None:
        async with world.engine(naps) as engine:
            names = await (await engine.submit(schedules, 3)).result()
            cancelled, paused, left_alone = (engine.handle(name) for name in names)
            await cancelled.cancel()
            with pytest.raises(ExecutionCancelled):
                await cancelled.result()
            await paused.pause()
            assert await left_alone.result() == "woke"
            assert world.passed_s == pytest.approx(1100, abs=1)
            await asyncio.sleep(900)
            assert kinds(paused.events()) == ["created", "paused"]
            await paused.unpause()
            assert await paused.result() == "woke"
            assert kinds(cancelled.events()) == ["created", "finished"]

    world.run(main())

    assert world.passed_s == pytest.approx(2100, abs=1)
    check_tables(world.db)


def test_o51_a_pause_before_its_time_makes_nothing_begin_early(world: World) -> None:
    """Paused and let go on before it was to begin, it begins when it was to."""

    async def main() -> None:
        async with world.engine(naps) as engine:
            [name] = await (await engine.submit(schedules, 1)).result()
            handle = engine.handle(name)
            await handle.pause()
            await handle.unpause()
            await asyncio.sleep(500)
            assert "timer_set" not in kinds(handle.events())
            await handle.result()

    world.run(main())
    assert world.passed_s == pytest.approx(1100, abs=1)
    check_tables(world.db)


def test_p45_a_limit_that_runs_out_in_a_pause_counts_after_it(world: World) -> None:
    """No code runs while it is paused; then it is told at once that its time is over."""

    @workflow(timeout=60)
    async def limited() -> None:
        try:
            await sleep(3600)
        finally:
            await note("cleaned up")

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(limited, id="f")
            await handle.pause()
            await asyncio.sleep(100)
            assert handle.status().state is State.PAUSED
            await handle.unpause()
            with pytest.raises(ExecutionTimedOut):
                await handle.result()

    world.run(main())

    assert world.passed_s == pytest.approx(100, abs=1)
    assert did == {"cleaned up": 1}
    check_tables(world.db)


def test_p39_a_child_that_is_cancelled_by_itself_tells_its_parent(world: World) -> None:
    """The parent catches that as an error, and goes on."""

    @workflow
    async def parent() -> str:
        try:
            return await naps()
        except ExecutionCancelled:
            return "without it"

    async def main() -> str:
        async with world.engine(naps) as engine:
            handle = await engine.submit(parent, id="f")
            await asyncio.sleep(1)
            await engine.handle("f/1").cancel()
            return await handle.result()

    assert world.run(main()) == "without it"
    check_tables(world.db)
