"""A parked parent that is cancelled: its children are closed for it, and it ends after them."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, Signal, activity, join_set, sleep, workflow
from obelisk_ops.core.ports import StateRow
from obelisk_ops.core.why import Surroundings, explain
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.inspect.situation import situation_of
from obelisk_ops.storage import open_reader
from tests.databases import Database
from tests.engines import kinds, read_log, until
from tests.world import World, check_tables

STAYS_S = 100


@activity
async def clean_up() -> None:
    await asyncio.sleep(1)


@workflow(cancellable=True)
async def goes() -> None:
    try:
        await sleep(3600)
    finally:
        await clean_up()


@workflow
async def stays() -> str:
    await sleep(STAYS_S)
    return "stayed"


async def first_code() -> None:
    async with join_set() as children:
        children.submit(goes)
        children.submit(stays)
        await Signal("old", int).receive()


async def other_code() -> None:
    await Signal("new", int).receive()


async def above_code() -> str:
    try:
        await Code.PARENT()
    except Exception as error:  # noqa: BLE001 - what a child's end looks like
        return type(error).__name__
    return "?"


class Code:
    """As deployments bring it; not in the module, which has one function of a name."""

    PARENT: Workflow[[], None] = workflow(name="parent")(first_code)
    UNFIT: Workflow[[], None] = workflow(name="parent")(other_code)
    ABOVE: Workflow[[], str] = workflow(name="above")(above_code)


SERVED = (Code.UNFIT, Code.ABOVE, goes, stays)
P = "f/1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def parked(world: World) -> None:
    """Leave a parent with two children, itself a child, whose code fits no more."""

    async def begin() -> None:
        async with world.engine(Code.PARENT, Code.ABOVE, goes, stays) as engine:
            await engine.submit(Code.ABOVE, id="f")
            await until(lambda: engine.find(f"{P}/1") and engine.find(f"{P}/2"), "both are")

    async def park() -> None:
        async with world.engine(*SERVED) as engine:
            await until(lambda: engine.row(P).state == "parked", "it is parked")

    world.run(begin())
    world.run(park())


def states(engine: Engine) -> list[str]:
    return [str(engine.row(name).state) for name in (P, f"{P}/1", f"{P}/2")]


def ends_well(rows: dict[str, StateRow]) -> None:
    results = {name: str(row.result) for name, row in rows.items()}
    assert results == {"f": "ok", P: "cancelled", f"{P}/1": "cancelled", f"{P}/2": "ok"}
    assert max(
        row.finished_at or 0 for name, row in rows.items() if name.startswith(f"{P}/")
    ) <= (rows[P].finished_at or 0)


async def to_the_end(world: World, db: Database) -> dict[str, StateRow]:
    async with world.engine(*SERVED, db=db) as engine:
        if engine.row(P).state == "parked":
            await engine.handle(P).cancel()
        assert await engine.handle("f").result() == "ExecutionCancelled"
        return {row.id: row for row in engine.list()}


def test_the_end_comes_after_that_of_the_children(world: World) -> None:
    parked(world)

    async def cancel() -> list[Any]:
        async with world.engine(*SERVED) as engine:
            assert await engine.handle(P).cancel() is True
            assert await engine.handle(P).cancel() is False
            await asyncio.sleep(10)
            seen = states(engine)
            with closing(open_reader(world.db)) as reader:
                told = explain(
                    situation_of(reader, engine.row(P)),
                    Surroundings(name="x", is_owned=True, now_ms=world.now_ms()),
                )
            assert await engine.handle("f").result() == "ExecutionCancelled"
            ends_well({row.id: row for row in engine.list()})
            return [seen, [reason.kind for reason in told]]

    seen, reasons = world.run(cancel())

    assert seen == ["cancelling", "finished", "blocked"]
    assert reasons == ["timer", "cancelling", "child"]
    assert kinds(read_log(world.db, f"{P}/1")).count("returned") == 1  # it cleaned up
    check_tables(world.db)


def test_at_whatever_moment_the_process_dies(world: World) -> None:
    parked(world)

    async def cancel() -> list[Database]:
        async with world.engine(*SERVED) as engine:
            await engine.handle(P).cancel()
            await engine.handle("f").result()
            return list(world.every_crash())

    crashes = world.run(cancel())

    assert len(crashes) >= 10  # two for each commit
    for db in crashes:
        ends_well(world.run(to_the_end(world, db)))
        check_tables(db)


def test_nobody_need_serve_the_parent(world: World) -> None:
    parked(world)

    async def cancel() -> None:
        async with Engine(world.db, clock=world) as engine:
            await engine.handle(P).cancel()
            assert states(engine)[0] == "cancelling"

    async def children_only() -> StateRow:
        async with world.engine(goes, stays) as engine:
            await until(lambda: engine.row(P).state == "finished", "it has ended", STAYS_S * 2)
            return engine.row(P)

    world.run(cancel())
    assert world.run(children_only()).result == "cancelled"
    check_tables(world.db)


def test_mended_code_does_not_come_back(world: World) -> None:
    parked(world)

    async def cancel_then_mend() -> None:
        async with Engine(world.db, clock=world) as engine:
            await engine.handle(P).cancel()
        async with world.engine(Code.PARENT, Code.ABOVE, goes, stays) as engine:
            assert await engine.handle("f").result() == "ExecutionCancelled"
            ends_well({row.id: row for row in engine.list()})

    world.run(cancel_then_mend())
    assert "resumed" not in kinds(read_log(world.db, P))


def test_what_parked_while_it_cleaned_up_can_be_ended(world: World) -> None:
    @workflow(name="cleans")
    async def cleans() -> None:
        try:
            await sleep(3600)
        finally:
            await sleep(50)

    @workflow(name="cleans")
    async def otherwise() -> None:
        await sleep(3)

    async def cancel_and_leave() -> None:
        async with world.engine(cleans) as engine:
            handle = await engine.submit(cleans, id="f")
            await handle.cancel()

    async def end() -> Any:
        async with world.engine(otherwise) as engine:
            await until(lambda: engine.row("f").state == "parked", "it is parked")
            assert await engine.handle("f").cancel() is True
            return engine.row("f").result

    world.run(cancel_and_leave())
    assert world.run(end()) == "cancelled"
    check_tables(world.db)
