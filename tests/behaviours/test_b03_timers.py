"""Durable timers: when they fire, how often, and clocks that jump."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from obelisk_ops import activity, join_set, now, sleep, workflow
from tests.databases import Database
from tests.engines import bodies, kinds, read_log
from tests.world import World, check_tables, knows


@workflow
async def naps(seconds: float, times: int = 1) -> list[float]:
    slept = []
    for _ in range(times):
        before = now()
        await sleep(seconds)
        slept.append((now() - before).total_seconds())
    return slept


async def submitted(world: World, seconds: float, times: int = 1) -> list[float]:
    async with world.engine() as engine:
        return await (await engine.submit(naps, seconds, times, id="f")).result()


@pytest.mark.parametrize("seconds", [0, -5])
def test_o20_a_timer_that_is_due_fires_without_a_wait(world: World, seconds: float) -> None:
    """Sleeping for nothing, or less, takes no time, and has its answer on record."""
    assert world.run(submitted(world, seconds, 3)) == [0, 0, 0]
    assert world.passed_s < 0.01
    assert kinds(read_log(world.db, "f")).count("timer_fired") == 3


@pytest.mark.parametrize("seconds", [0.001, 1, 7200])
def test_o51_a_timer_fires_at_its_time_and_never_before(world: World, seconds: float) -> None:
    """By the clock of the machine, to the millisecond."""
    assert world.run(submitted(world, seconds)) == [seconds]
    log = read_log(world.db, "f")
    [timer] = bodies(log, "timer_set")
    [fired] = [event.at for event in log if event.kind == "timer_fired"]
    assert 0 <= fired - timer["until"] <= 1


def test_o51_what_is_due_earlier_goes_first(world: World) -> None:
    """Of timers asked for in any order, the one that is due first is answered first."""
    ended: list[float] = []

    @activity
    async def note(seconds: float) -> None:
        ended.append(seconds)

    @workflow
    async def waits(seconds: float) -> None:
        await sleep(seconds)
        await note(seconds)

    async def main() -> None:
        async with world.engine() as engine:
            handles = [await engine.submit(waits, s) for s in (30, 10, 20, 0.5)]
            await asyncio.gather(*(handle.result() for handle in handles))

    world.run(main())

    assert ended == [0.5, 10, 20, 30]


def test_o22_a_timer_answers_once_and_the_inbox_has_no_holes(world: World) -> None:
    """Twenty timers that come due together, with a crash among them: twenty answers."""

    @workflow
    async def many() -> int:
        async with join_set() as timers:
            for n in range(20):
                timers.submit_delay(10 + n // 5)
            return len([answer async for answer in timers])

    async def main() -> list[Database]:
        async with world.engine() as engine:
            await (await engine.submit(many, id="f")).result()
            return [db for db in world.every_crash() if knows(db, "f")][-8:]

    for left in world.run(main()):
        assert world.finish(left, many) == 20
        answers = bodies(read_log(left, "f"), "timer_fired")
        assert [answer["seq"] for answer in answers] == list(range(1, 21))
        assert sorted(answer["n"] for answer in answers) == list(range(1, 21))
        check_tables(left)


def test_o41_a_timer_is_compared_by_the_wait_that_was_asked_for(world: World) -> None:
    """Replayed at another hour the same sleep fits, and keeps the instant on record."""

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(naps, 3600, id="f")
            return world.crash()

    left = world.run(main())
    [before] = bodies(read_log(left, "f"), "timer_set")
    world.passed_s += 1800

    assert world.finish(left, naps) == [3600]
    assert bodies(read_log(left, "f"), "timer_set") == [before]
    assert world.now_ms() == pytest.approx(before["until"], abs=5)


def test_p27_a_timer_due_while_nobody_ran_fires_at_the_start(world: World) -> None:
    """Days late it fires at once, once, and the code sees the time at which it did."""

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(naps, 60, id="f")
            return world.crash()

    left = world.run(main())
    world.passed_s += 2 * 86_400

    assert world.finish(left, naps) == [pytest.approx(2 * 86_400, abs=1)]
    assert kinds(read_log(left, "f")).count("timer_fired") == 1


@pytest.mark.parametrize("by_s", [7200, -7200], ids=["forward", "back"])
def test_p28_a_clock_that_jumps_loses_no_timer(world: World, by_s: float) -> None:
    """
    Set forward past its instant, a timer fires within seconds; set back, it is not late.

    It waits for the instant, or for as long as was left when it was set.
    """

    async def main() -> list[float]:
        async with world.engine() as engine:
            handle = await engine.submit(naps, 3600, id="f")
            await asyncio.sleep(60)
            world.set_clock(by_s)
            return await handle.result()

    began = world.passed_s
    world.run(main())
    took = world.passed_s - began

    assert took == pytest.approx(60 if by_s > 0 else 3600, abs=15)
    assert kinds(read_log(world.db, "f")).count("timer_fired") == 1


def test_p28_time_as_code_sees_it_never_goes_back(world: World) -> None:
    """Neither live, when the clock is set back between two steps, nor on replay."""
    seen: list[datetime] = []

    @activity
    async def act() -> None:
        await asyncio.sleep(1)

    @workflow
    async def flow() -> bool:
        times = [now()]
        for _ in range(4):
            await act()
            times.append(now())
        seen.extend(times)
        return times == sorted(times)

    async def main() -> Database:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            for by_s in (-500, 200, -100):
                await asyncio.sleep(1)
                world.set_clock(by_s)
            left = world.crash()
            assert await handle.result()
            return left

    left = world.run(main())
    assert world.finish(left, flow) is True
    assert max(seen) - min(seen) < timedelta(seconds=800)
    moments = [event.at for event in read_log(left, "f")]
    assert moments == sorted(moments)
