"""Executions that rest on disk, or stand still, are not forgotten and not begun too early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    ExecutionCancelled,
    ExecutionTimedOut,
    Handle,
    Signal,
    now,
    schedule,
    sleep,
    stub,
    workflow,
)
from obelisk_ops.core.ports import State
from obelisk_ops.errors import Nondeterminism
from tests.engines import kinds, read_log
from tests.world import BEGINNING_MS, World, check_tables

LATER = timedelta(hours=2)
LATER_MS = 7_200_000
note = Signal("note", str)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@stub
def decide(order: int) -> str:
    """Somebody decides."""
    raise NotImplementedError


# -- what begins later -------------------------------------------------------------------


@workflow
async def looks_at_the_clock() -> list[datetime]:
    seen = [now()]
    await sleep(3600)
    return [*seen, now()]


@workflow
async def schedules() -> str:
    return schedule(looks_at_the_clock, after=LATER)


@pytest.mark.parametrize("keep_loaded", [0, 1000])
def test_what_begins_later_begins_with_the_time_of_its_beginning(
    world: World, keep_loaded: int
) -> None:
    async def main() -> list[datetime]:
        async with world.engine(looks_at_the_clock, keep_loaded=keep_loaded) as engine:
            made = await (await engine.submit(schedules, id="f")).result()
            result: list[Any] = await engine.handle(made).result()
            return result

    begun, woken = world.run(main())

    assert begun.timestamp() * 1000 == BEGINNING_MS + LATER_MS
    assert woken - begun == timedelta(hours=1)
    check_tables(world.db)


def test_what_was_created_paused_begins_with_the_time_of_its_beginning(world: World) -> None:
    async def main() -> list[datetime]:
        async with world.engine() as engine:
            handle = await engine.submit_json(
                looks_at_the_clock, b"[]", execution_id="f", paused=True
            )
            await asyncio.sleep(7200)
            await handle.unpause()
            return await handle.result()

    begun, woken = world.run(main())

    assert begun.timestamp() * 1000 == BEGINNING_MS + LATER_MS
    assert woken - begun == timedelta(hours=1)


@workflow
async def hears() -> list[Any]:
    return [await note.receive(), now()]


@workflow
async def schedules_a_hearer() -> str:
    return schedule(hears, after=LATER)


def test_a_signal_does_not_begin_what_is_scheduled_for_later(world: World) -> None:
    async def main() -> list[Any]:
        async with world.engine(hears) as engine:
            made = await (await engine.submit(schedules_a_hearer, id="f")).result()
            await engine.handle(made).signal(note, "early")
            result: list[Any] = await engine.handle(made).result()
            return result

    heard, at = world.run(main())

    assert heard == "early"
    assert datetime.fromisoformat(at).timestamp() * 1000 == BEGINNING_MS + LATER_MS
    check_tables(world.db)


@pytest.mark.parametrize("then", ["goes on", "restarts"])
def test_what_was_paused_before_its_beginning_begins(world: World, then: str) -> None:
    async def paused() -> str:
        async with world.engine(hears) as engine:
            made = await (await engine.submit(schedules_a_hearer, id="f")).result()
            await engine.handle(made).pause()
            if then == "goes on":
                await engine.handle(made).unpause()
                await engine.handle(made).signal(note, "x")
                await engine.handle(made).result()
            return made

    async def unpaused(made: str) -> list[Any]:
        async with world.engine(hears) as engine:
            if then == "restarts":
                await engine.handle(made).unpause()
                await engine.handle(made).signal(note, "x")
            result: list[Any] = await engine.handle(made).result()
            return result

    assert world.run(unpaused(world.run(paused())))[0] == "x"
    check_tables(world.db)


# -- pauses ------------------------------------------------------------------------------


@workflow(timeout=60)
async def limited() -> str:
    await sleep(3600)
    return "in time"


@pytest.mark.parametrize("keep_loaded", [0, 1000])
@pytest.mark.parametrize("then", ["goes on", "restarts"])
def test_a_limit_that_runs_out_in_a_pause_ends_it_after_the_pause(
    world: World, keep_loaded: int, then: str
) -> None:
    async def begin() -> None:
        async with world.engine(limited, keep_loaded=keep_loaded) as engine:
            handle = await engine.submit(limited, id="f")
            await handle.pause()
            await asyncio.sleep(100)
            if then == "goes on":
                await end(handle)

    async def end(handle: Any) -> None:
        assert handle.status().state is State.PAUSED
        await handle.unpause()
        with pytest.raises(ExecutionTimedOut):
            await handle.result()

    async def again() -> None:
        async with world.engine(limited) as engine:
            await end(engine.handle("f"))

    world.run(begin())
    if then == "restarts":
        world.run(again())
    assert world.passed_s < 200
    check_tables(world.db)


def test_a_cancel_before_the_limit_leaves_tables_that_fit(world: World) -> None:
    @workflow(timeout=60)
    async def lingers() -> str:
        try:
            await sleep(3600)
        finally:
            await sleep(600)
        return ""

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(lingers, id="f")
            await handle.cancel()
            await asyncio.sleep(100)
            check_tables(world.crash())
            with pytest.raises(ExecutionCancelled):
                await handle.result()

    world.run(main())


def test_a_pause_is_over_when_what_is_not_served_is_cancelled(world: World) -> None:
    @workflow
    async def waits() -> str:
        await sleep(3600)
        return ""

    async def begin() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(waits, id="f")
            await handle.pause()

    async def cancel() -> None:
        async with world.engine() as engine:
            await engine.handle("f").cancel()
            check_tables(world.crash())

    async def end() -> None:
        async with world.engine(waits) as engine:
            with pytest.raises(ExecutionCancelled):
                await engine.handle("f").result()

    world.run(begin())
    world.run(cancel())
    world.run(end())
    check_tables(world.db)


def flow_that(kind: str) -> Any:
    @workflow(name="flow")
    async def one() -> str:
        await sleep(3600)
        return "one"

    @workflow(name="flow")
    async def two() -> str:
        await decide(1)
        return "two"

    @workflow(name="flow")
    async def three() -> str:  # as one, in other words
        await sleep(3000 + 600)
        return "three"

    return {"one": one, "two": two, "three": three}[kind]


def test_the_end_is_the_last_event_also_of_what_was_cancelled_on_disk(world: World) -> None:
    """Not served it is cancelled; then other code that fits is served."""

    async def begin() -> None:
        async with world.engine() as engine:
            await engine.submit(flow_that("one"), id="f")

    async def ask() -> None:
        async with world.engine() as engine:
            await engine.handle("f").cancel()

    async def end() -> None:
        async with world.engine(flow_that("three")) as engine:
            with pytest.raises(ExecutionCancelled):
                await engine.handle("f").result()

    world.run(begin())
    world.run(ask())
    world.run(end())
    assert kinds(read_log(world.db, "f"))[-1] == "finished"
    check_tables(world.db)


ASKED: dict[str, Callable[[Handle[Any]], Awaitable[bool]]] = {
    "unpause": lambda handle: handle.unpause(),
    "cancel": lambda handle: handle.cancel(),
    "signal": lambda handle: handle.signal(note, "x"),
}


@pytest.mark.parametrize("asked", ["unpause", "cancel", "signal unpause", "unpause unpause"])
@pytest.mark.parametrize("state", ["paused", "blocked"])
def test_code_that_fits_no_more_is_found_out_by_a_request(
    world: World, asked: str, state: str
) -> None:
    async def begin() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(flow_that("one"), id="f")
            if state == "paused":
                await handle.pause()

    async def other() -> None:
        async with world.engine(flow_that("two"), keep_loaded=0) as engine:
            handle = engine.handle("f")
            for request in asked.split():
                await ASKED[request](handle)
            with pytest.raises(ExecutionCancelled if asked == "cancel" else Nondeterminism):
                await handle.result()
        check_tables(world.db)

    async def end() -> None:
        async with world.engine(flow_that("one")) as engine:
            assert await engine.handle("f").result() == "one"

    world.run(begin())
    world.run(other())
    if asked != "cancel":
        world.run(end())
    check_tables(world.db)
