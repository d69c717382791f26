"""Families and successors through crashes, also of those that rest on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Signal, continue_as_new, join_set, sleep, stub, workflow
from obelisk_ops.errors import AlreadyAnswered
from tests.databases import Database
from tests.world import World, check_tables, knows

note = Signal("note", str)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@stub
def decide(order: int) -> str:
    """Somebody decides."""
    raise NotImplementedError


@workflow(cancellable=True)
async def cancellable_child() -> None:
    await sleep(7200)


@pytest.mark.parametrize("keep_loaded", [0, 1, 1000])
def test_a_child_that_was_to_be_cancelled_is_cancelled_after_a_crash(
    world: World, keep_loaded: int
) -> None:
    """Whatever the parent does besides: it waits, and is not itself being cancelled."""

    @workflow
    async def parent() -> str:
        async with join_set() as calls:
            calls.submit(cancellable_child)
            await sleep(60)
        return "closed"

    async def begin() -> list[Database]:
        async with world.engine(cancellable_child, keep_loaded=keep_loaded) as engine:
            assert await (await engine.submit(parent, id="f")).result() == "closed"
            return [db for db in world.every_crash() if knows(db, "f")]

    crashes = world.run(begin())
    took = world.passed_s
    for db in crashes:
        world.passed_s = took
        flows = (parent, cancellable_child)
        assert world.finish(db, *flows, keep_loaded=keep_loaded) == "closed"
        assert world.passed_s < took + 100
        check_tables(db)


def test_signals_go_through_a_chain_that_does_not_wait(world: World) -> None:
    @workflow(name="chain")
    async def chain(left: int) -> str:
        if left == 3:
            await sleep(10)
        if left:
            continue_as_new(left - 1)
        return "".join([str(await note.receive()) for _ in range(3)])

    async def main() -> str:
        async with world.engine() as engine:
            handle = await engine.submit(chain, 3, id="f")
            for text in "abc":
                await handle.signal(note, text)
            return await handle.result()

    assert world.run(main()) == "abc"
    check_tables(world.db)


@workflow
async def asks_once() -> str:
    return await decide(1)


@workflow
async def has_a_child_as_its_successor(place: int) -> str:
    if place == 1:
        await sleep(1)
        continue_as_new(2)
    async with join_set() as calls:
        calls.submit(cancellable_child)
        return await asks_once()


def test_children_of_a_successor_are_asked_like_others(world: World) -> None:
    async def main() -> str:
        async with world.engine(has_a_child_as_its_successor, keep_loaded=0) as engine:
            handle = await engine.submit(has_a_child_as_its_successor, 1, id="f")
            await asyncio.sleep(5)
            child = engine.handle("f~2/2")
            await child.pause()
            await child.unpause()
            await engine.stub("f~2/2/1", "yes")
            return await handle.result()

    assert world.run(main()) == "yes"
    check_tables(world.db)


def test_an_answer_to_a_call_is_not_one_to_a_call_of_its_successor(world: World) -> None:
    """Its letter was news when it was posted; the execution has gone on as another since."""

    @workflow(name="succeeds")
    async def succeeds(place: int) -> Any:
        if place == 1:
            async with join_set() as calls:
                calls.submit(decide, 1)
                await note.receive()
            continue_as_new(2)
        return await decide(2)

    async def main() -> Any:
        async with world.engine() as engine, world.engine(serve=False) as client:
            handle = await engine.submit(succeeds, 1, id="f")
            heard, refused = await asyncio.gather(
                handle.signal(note, "go on"),
                client.stub("f/1", "for the first"),
                return_exceptions=True,
            )
            assert heard is True
            assert isinstance(refused, AlreadyAnswered)
            assert "'f/1' was cancelled" in refused.message
            await engine.stub("f~2/1", "for the second")
            return await handle.result()

    assert world.run(main()) == "for the second"


def test_a_signal_id_counts_for_the_successor_too(world: World) -> None:
    @workflow(name="loops")
    async def loops(heard: list[str]) -> list[str]:
        text = await note.receive(timeout=60)
        if text is None:
            return heard
        return continue_as_new([*heard, text])

    async def main() -> Any:
        async with world.engine() as engine:
            handle = await engine.submit(loops, [], id="f")
            await handle.signal(note, "a", id="1")
            await asyncio.sleep(1)
            await handle.signal(note, "a", id="1")
            await handle.signal(note, "b", id="2")
            await asyncio.sleep(1)
            await handle.signal(note, "a", id="1")
            await handle.signal(note, "b", id="2")
            return await handle.result()

    assert world.run(main()) == ["a", "b"]
