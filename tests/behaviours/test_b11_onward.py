"""Executions that others start, that go on as new ones, and that nobody serves just now."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from obelisk_ops import (
    Engine,
    ExecutionCancelled,
    Signal,
    activity,
    continue_as_new,
    now,
    schedule,
    sleep,
    workflow,
)
from obelisk_ops.core.ports import State
from tests.databases import Database
from tests.world import World, check_tables, knows

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

stop = Signal("stop", str)
number = Signal("number", int)
did: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    did.clear()


@activity
async def note(what: str) -> None:
    did[what] += 1


@workflow
async def target(n: int) -> int:
    await note(f"target {n}")
    return n


@workflow
async def schedules() -> list[str]:
    ids = [
        schedule(target, 1),
        schedule(target, 2, after=60),
        schedule(target, 3, at=now() + timedelta(hours=1)),
    ]
    await sleep(10)
    return [str(name) for name in ids]


async def all_of(engine: Engine) -> list[int]:
    names = await engine.handle("f").result()
    values = [await engine.handle(name).result() for name in names]
    assert [row.parent for row in engine.list()] == [None] * 4
    return values


def test_o04_what_is_scheduled_is_scheduled_once(world: World) -> None:
    """At once, after a while, at a moment; killed at any of these, each target is made once."""

    async def main() -> list[Database]:
        async with world.engine(target) as engine:
            await engine.submit(schedules, id="f")
            assert await all_of(engine) == [1, 2, 3]
            return [db for db in world.every_crash() if knows(db, "f")]

    async def again(db: Database) -> list[int]:
        async with world.engine(target, schedules, db=db) as engine:
            return await all_of(engine)

    crashes = world.run(main())
    assert world.passed_s == pytest.approx(3600, abs=1)
    for db in crashes:
        assert world.run(again(db)) == [1, 2, 3]
        check_tables(db)


@workflow
async def loops(left: int) -> str:
    said = await stop.receive(timeout=1)
    if said is not None:
        return said
    return "ran out" if not left else continue_as_new(left - 1)


def test_p34_an_execution_that_goes_on_as_new_is_one_to_its_callers(world: World) -> None:
    """Result, attaching and signals follow it; its history does not grow; a crash is no end."""

    async def main() -> Database:
        async with world.engine() as engine:
            handle = await engine.submit(loops, 40, id="f")
            await asyncio.sleep(20.5)
            assert not (await engine.submit(loops, 40, id="f")).created
            assert max(len(engine.handle(row.id).events()) for row in engine.list()) < 5
            left = world.crash()
            await handle.signal(stop, "enough")
            assert await handle.result() == "enough"
            return left

    left = world.run(main())

    assert world.finish(left, loops) == "ran out"
    check_tables(world.db)
    check_tables(left)


def test_p31_an_id_counts_for_all_that_go_on_in_its_place(world: World) -> None:
    """A signal sent again after the execution went on as new is not received again."""

    @workflow
    async def counts(total: int) -> int:
        value = await number.receive(timeout=10)
        return total if value is None else continue_as_new(total + value)

    async def main() -> int:
        async with world.engine() as engine:
            handle = await engine.submit(counts, 0, id="f")
            for id_ in ("a", "b", "a", "c", "b"):
                await handle.signal(number, 1, id=id_)
                await asyncio.sleep(1)
            return await handle.result()

    assert world.run(main()) == 3
    check_tables(world.db)


def test_p34_a_child_may_go_on_as_new(world: World) -> None:
    """Its parent is told how the last of them ended."""

    @workflow
    async def parent() -> str:
        return await loops(5)

    async def main() -> tuple[Database, str]:
        async with world.engine(loops) as engine:
            handle = await engine.submit(parent, id="f")
            await asyncio.sleep(2.5)
            return world.crash(), await handle.result()

    left, value = world.run(main())

    assert value == "ran out"
    assert world.finish(left, loops, parent) == "ran out"
    check_tables(left)


def test_p42_a_cancel_finds_what_went_on_as_new(world: World) -> None:
    """Asked by the first id, the execution that is running now is cancelled."""

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(loops, 100, id="f")
            await asyncio.sleep(10.5)
            assert await handle.cancel() is True
            with pytest.raises(ExecutionCancelled):
                await handle.result()
            assert len(engine.list()) == 11

    world.run(main())
    check_tables(world.db)


@workflow
async def cleans_up() -> None:
    try:
        await sleep(3600)
    finally:
        await note("cleaned up")


async def begin(world: World) -> None:
    async with world.engine() as engine:
        await engine.submit(cleans_up, id="f")


@pytest.mark.behaviour("P43")
@pytest.mark.parametrize("by", ["another process", "an engine that does not serve it"])
def test_p42_a_cancel_reaches_what_nobody_serves(world: World, by: str) -> None:
    """Asked while nobody runs it, it is raised once when somebody does."""

    async def ask() -> None:
        another = Engine(world.db, serve=False, clock=world)
        async with another if by == "another process" else world.engine() as engine:
            handle = engine.handle("f")
            assert await handle.cancel() is True
            assert await handle.cancel() is False

    async def serve() -> None:
        async with world.engine(cleans_up) as engine:
            with pytest.raises(ExecutionCancelled):
                await engine.handle("f").result()

    world.run(begin(world))
    world.run(ask())
    world.run(serve())

    assert did == {"cleaned up": 1}
    check_tables(world.db)


def test_p45_a_pause_reaches_what_nobody_serves(world: World) -> None:
    """It is paused when somebody serves it, with what arrived meanwhile."""

    @workflow
    async def listens() -> str | None:
        await sleep(10)
        return await stop.receive()

    async def first() -> None:
        async with world.engine() as engine:
            await engine.submit(listens, id="f")

    async def ask() -> None:
        async with world.engine() as engine:
            handle = engine.handle("f")
            await handle.pause()
            await handle.signal(stop, "kept")

    async def serve() -> str | None:
        async with world.engine(listens) as engine:
            handle = engine.handle("f")
            await asyncio.sleep(100)
            assert handle.status().state is State.PAUSED
            await handle.unpause()
            value: str | None = await handle.result()
            return value

    for shift in (first, ask):
        world.run(shift())
        check_tables(world.db)
    assert world.run(serve()) == "kept"
    check_tables(world.db)
