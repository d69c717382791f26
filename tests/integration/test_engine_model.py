"""What workflows can do besides calling: signals, stubs, cancelling, limits, pauses, and on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    Cancelled,
    Engine,
    ExecutionCancelled,
    ExecutionTimedOut,
    Signal,
    activity,
    continue_as_new,
    execution_id,
    first,
    gather,
    patched,
    saga,
    schedule,
    sleep,
    stub,
    timeout,
    workflow,
)
from tests.engines import kinds, until

approve = Signal("approve", bool)
DONE: list[str] = []
HANGING: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()
    HANGING.clear()


@activity
async def note(text: str) -> str:
    DONE.append(text)
    return text


@activity
async def hang(text: str) -> str:
    HANGING.append(text)
    await asyncio.Event().wait()
    return text


@stub
def decide(amount: int) -> str:
    raise NotImplementedError


@workflow
async def asks() -> list[Any]:
    return [await approve.receive(), await approve.receive(timeout=0.01)]


@workflow
async def wants_a_decision() -> str:
    return await decide(7)


@workflow
async def cleans_up() -> str:
    try:
        async with saga() as undo:
            await note("booked")
            undo.add(note, "unbooked")
            await hang("x")
    finally:
        await note("cleaned")
    return "never"


@workflow(timeout=0.02)
async def takes_long() -> str:
    try:
        await sleep(3600)
    finally:
        await note("late")
    return "never"


@workflow(cancellable=True)
async def child() -> str:
    try:
        await sleep(3600)
    except Cancelled:
        await note("child cancelled")
        raise
    return "never"


@workflow
async def parent() -> str:
    return await child()


@workflow
async def races() -> list[Any]:
    async def two() -> str:
        return await note("a") + await note("b")

    both = await gather(two(), note("c"))
    winner = await first(hang("x"), note("d"))
    try:
        async with timeout(0.01):
            await hang("y")
    except TimeoutError:
        return [both, winner, "timeout"]
    return []


@workflow
async def counts(n: int) -> int:
    await note(f"{n}")
    if n < 3:
        continue_as_new(n + 1)
    return n


@workflow
async def plans() -> str:
    return await schedule(counts, 3, after=0.01)


@workflow
async def steps() -> str:
    new = patched("better")
    await note("one")
    await sleep(0.01)
    return f"{new} {execution_id()}"


def test_signals_are_kept_until_they_are_wanted(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            handle = await engine.submit(asks)
            await engine.ask("signal", handle.id, '{"name":"approve","value":true,"id":"1"}')
            await engine.ask("signal", handle.id, '{"name":"approve","value":true,"id":"1"}')

            assert await handle.result() == [True, None]

    asyncio.run(story())


def test_a_stub_is_answered_from_outside(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            handle = await engine.submit(wants_a_decision)
            await engine.ask("stub", f"{handle.id}/1", '{"ok":"yes"}')

            assert await handle.result() == "yes"

    asyncio.run(story())


def test_cancelling_cleans_up_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            handle = await engine.submit(cleans_up)
            await until(lambda: HANGING == ["x"], "what comes after the booking")
            await engine.ask("cancel", handle.id)
            with pytest.raises(ExecutionCancelled):
                await handle.result()

            assert DONE == ["booked", "unbooked", "cleaned"]
            assert handle.status().result == "cancelled"

    asyncio.run(story())


def test_a_workflow_has_a_timeout(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            with pytest.raises(ExecutionTimedOut):
                await (await engine.submit(takes_long)).result()

        assert DONE == ["late"]

    asyncio.run(story())


def test_a_cancellable_child_goes_with_its_parent(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            handle = await engine.submit(parent)
            await engine.ask("cancel", handle.id)
            with pytest.raises(ExecutionCancelled):
                await handle.result()

            assert DONE == ["child cancelled"]
            assert engine.handle(f"{handle.id}/1").status().result == "cancelled"

    asyncio.run(story())


def test_gather_first_and_timeout(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            result = await (await engine.submit(races)).result()

        assert result == [["ab", "c"], [1, "d"], "timeout"]

    asyncio.run(story())


def test_an_execution_continues_as_new_ones(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db") as engine:
            handle = await engine.submit(counts, 1, id="c")

            assert await handle.result() == 3
            assert [row.id for row in engine.list()] == ["c", "c~2", "c~3"]

    asyncio.run(story())


def test_an_execution_is_scheduled(tmp_path: Path) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db", workflows=[counts]) as engine:
            planned = await (await engine.submit(plans)).result()

            assert await engine.handle(planned).result() == 3

    asyncio.run(story())


@pytest.mark.parametrize("keep_loaded", [0, 1000])
def test_a_pause_holds_everything_back(tmp_path: Path, keep_loaded: int) -> None:
    async def story() -> None:
        async with Engine(tmp_path / "a.db", keep_loaded=keep_loaded) as engine:
            handle = await engine.submit(steps, id="s")
            await engine.ask("pause", "s")
            assert handle.status().state == "paused"

        async with Engine(tmp_path / "a.db", workflows=[steps]) as engine:
            assert engine.handle("s").status().state == "paused"
            await engine.ask("unpause", "s")

            assert await engine.handle("s").result() == "True s"
            assert kinds(engine.handle("s").events())[-1] == "finished"

    asyncio.run(story())
