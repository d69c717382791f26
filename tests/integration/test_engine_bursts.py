"""Many at once: what is saved then, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

from obelisk_ops import Engine, Signal, activity, workflow
from obelisk_ops.testing import EngineForTests

MANY = 200
note = Signal("note", int)


@activity
async def collects() -> bool:
    return gc.isenabled()


@activity
def doubled(number: int) -> int:
    return 2 * number


@workflow
async def collecting() -> bool:
    return await collects()


@workflow
async def in_threads(number: int) -> int:
    return await doubled(await doubled(number))


@workflow
async def hears(count: int) -> list[int | None]:
    return [await note.receive() for _ in range(count)]


def test_the_collector_rests_in_a_burst_and_works_after_it(tmp_path: Path) -> None:
    asyncio.run(_burst(tmp_path / "burst.db"))


async def _burst(path: Path) -> None:
    async with Engine(path) as engine:
        alone = await engine.submit(collecting)
        assert await alone.result()
        handles = await asyncio.gather(*[engine.submit(collecting) for _ in range(MANY)])
        seen = [await handle.result() for handle in handles]
        assert False in seen
    assert gc.isenabled()


def test_what_has_ended_leaves_nothing_for_a_collector(tmp_path: Path) -> None:
    assert asyncio.run(_garbage(tmp_path / "clean.db")) == []


async def _garbage(path: Path) -> list[object]:
    async with Engine(path) as engine:
        await (await engine.submit(collecting)).result()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(5):
                await (await engine.submit(collecting)).result()
            gc.collect()
            return list(gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


def test_what_is_unloaded_leaves_nothing_for_a_collector(tmp_path: Path) -> None:
    """Very many that sleep would otherwise be in memory until it looks; in a burst it rests."""
    assert asyncio.run(_left_by_unloaded(tmp_path / "clean.db")) == []


async def _left_by_unloaded(path: Path) -> list[object]:
    async with EngineForTests(path, keep_loaded=0) as engine:
        await engine.submit(hears, 1)
        await engine.settle()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(5):
                await engine.submit(hears, 1)
            await engine.settle()
            gc.collect()
            return [one for one in gc.garbage if _is_ours(one)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


def _is_ours(found: object) -> bool:
    return type(found).__module__.startswith("obelisk_ops.durable")


def test_threads_wake_the_loop_once_for_many_results(tmp_path: Path) -> None:
    results, wakes = asyncio.run(_threads(tmp_path / "burst.db"))
    assert results == [4 * number for number in range(MANY)]
    assert wakes < 2 * MANY


async def _threads(path: Path) -> tuple[list[int], int]:
    loop = asyncio.get_running_loop()
    wake, wakes = loop.call_soon_threadsafe, 0

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return wake(*args, **kwargs)

    setattr(loop, "call_soon_threadsafe", counted)  # noqa: B010 - mypy minds an assignment
    async with Engine(path, threads=8) as engine:
        asking = [engine.submit(in_threads, number) for number in range(MANY)]
        handles = await asyncio.gather(*asking)
        return [await handle.result() for handle in handles], wakes


def test_letters_to_one_that_is_paused_share_a_commit(tmp_path: Path) -> None:
    """Those before the one that lets it go on, and those after it; in their order."""

    async def post() -> None:
        async with Engine(tmp_path / "paused.db", serve=False) as client:
            handle = await client.submit_json(hears, b"[22]", execution_id="p", paused=True)
            for number in range(20):
                await handle.signal(note, number, id=str(number))
            await handle.unpause()
            for number in range(20, 22):
                await handle.signal(note, number)

    async def answer() -> None:
        async with EngineForTests(tmp_path / "paused.db", workflows=[hears]) as engine:
            assert await engine.handle("p").result() == list(range(22))
            assert engine.commits <= 5  # created, heard while paused, let go on, and after

    asyncio.run(post())
    asyncio.run(answer())
