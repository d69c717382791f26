"""Many at once: what is saved then, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

from obelisk_ops import Engine, activity, workflow

MANY = 200


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
