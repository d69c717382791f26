"""Two things that reach an execution in one round: their order, and that neither is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from obelisk_ops import Retry, activity, first, sleep, workflow
from obelisk_ops.testing import EngineForTests
from tests.engines import kinds, the_tables_fit_the_logs

HOURLY = Retry(max_attempts=2, initial=timedelta(hours=1), jitter=0)


@activity(retry=HOURLY)
async def fails() -> None:
    raise ConnectionError("away")


@workflow
async def retries() -> None:
    await fails()


@workflow
async def races() -> int:
    index, _ = await first(sleep(3), sleep(1), sleep(2))
    return index


@pytest.mark.parametrize("keep_loaded", [0, 1000])
def test_timers_that_passed_in_a_pause_fire_in_their_order(
    tmp_path: Path, keep_loaded: int
) -> None:
    async def main() -> int:
        async with EngineForTests(tmp_path / "a.db", keep_loaded=keep_loaded) as engine:
            handle = await engine.submit(races)
            await handle.pause()
            await engine.clock.advance(minutes=1)
            await handle.unpause()
            return await handle.result()

    assert asyncio.run(main()) == 1


def test_timers_that_passed_while_it_rested_on_disk_fire_in_their_order(
    tmp_path: Path,
) -> None:
    async def main() -> int:
        async with EngineForTests(tmp_path / "a.db", keep_loaded=0) as engine:
            handle = await engine.submit(races)
            await engine.clock.jump(timedelta(minutes=1))
            return await handle.result()

    assert asyncio.run(main()) == 1


def test_a_pause_that_was_asked_for_just_before_a_death_holds(tmp_path: Path) -> None:
    """The letter waits, and is answered while the execution is being taken up."""

    async def main() -> None:
        async with EngineForTests(tmp_path / "a.db", workflows=[retries]) as engine:
            handle = await engine.submit(retries)
            await engine.settle()
            engine.crash_before()
            await handle.pause()
            await engine.settle()
            assert engine.crashes == 1
            assert handle.status().state == "paused"
            await handle.unpause()
            await engine.settle()
            assert kinds(handle.events())[-2:] == ["paused", "unpaused"]
            await engine.clock.advance(hours=1)
            assert handle.status().result == "error"
            assert engine._owner is not None
            the_tables_fit_the_logs(engine._owner.store)

    asyncio.run(main())
