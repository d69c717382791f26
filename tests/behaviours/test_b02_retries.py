"""Attempts that fail, take too long, or wait for their turn."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from obelisk_ops import (
    ActivityTimedOut,
    ExecutionFailed,
    Retry,
    activity,
    join_set,
    sleep,
    workflow,
)
from tests.databases import Database
from tests.engines import bodies, kinds, read_log
from tests.world import World, check_tables


class Tally:
    """When attempts were made, in seconds since the first one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._at: list[float] = []

    def __call__(self) -> int:
        self._at.append(self._world.passed_s)
        return activity.attempt()

    @property
    def seconds(self) -> list[float]:
        return [round(at - self._at[0], 3) for at in self._at]


THRICE = Retry(max_attempts=3, initial=timedelta(seconds=10), factor=2, jitter=0)


@pytest.mark.parametrize("is_child", [False, True], ids=["itself", "in a child"])
@pytest.mark.behaviour("P22")
def test_o33_three_attempts_and_then_the_failure(world: World, *, is_child: bool) -> None:
    """At 0, 10 and 30 seconds; told at once after the last, without another wait."""
    tally = Tally(world)

    @activity(retry=THRICE)
    async def fails() -> None:
        raise ConnectionError(tally())

    @workflow
    async def calls() -> None:
        await fails()

    @workflow
    async def parent() -> None:
        await calls()

    async def main() -> None:
        async with world.engine(calls) as engine:
            handle = await engine.submit(parent if is_child else calls, id="f")
            with pytest.raises(ExecutionFailed, match="ConnectionError: 3"):
                await handle.result()

    world.run(main())

    assert tally.seconds == [0, 10, 30]
    assert round(world.passed_s) == 30
    check_tables(world.db)


def test_o34_an_error_to_give_up_on_is_tried_once(world: World) -> None:
    """A class named in the policy, or one derived from it, ends the call at once."""
    tally = Tally(world)

    @activity(retry=Retry(give_up_on=(LookupError,)))
    async def fails() -> None:
        raise KeyError(tally())

    @workflow
    async def flow() -> str:
        try:
            await fails()
        except KeyError as error:
            return f"gave up: {error}"
        return ""

    async def main() -> str:
        async with world.engine() as engine:
            return await (await engine.submit(flow)).result()

    assert world.run(main()) == "gave up: 1"
    assert tally.seconds == [0]


def test_o38_the_wait_on_record_is_the_one_that_counts(world: World) -> None:
    """Code with another policy, deployed while a retry waits, waits as was recorded."""
    tally = Tally(world)

    def version(initial_s: float) -> Any:
        wait = timedelta(seconds=initial_s)

        @activity(name="fails", retry=Retry(max_attempts=3, initial=wait, jitter=0))
        async def fails() -> int:
            if tally() == 1:
                raise ConnectionError
            return activity.attempt()

        @workflow(name="flow")
        async def flow() -> int:
            return await fails()

        return flow

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(version(30), id="f")
            await asyncio.sleep(1)
            return world.crash()

    assert world.finish(world.run(main()), version(5000)) == 2
    assert tally.seconds == [0, 30]


@pytest.mark.parametrize("down_s", [0, 10, 600])
def test_p23_a_crash_in_a_backoff_leaves_the_rest_of_it(world: World, down_s: float) -> None:
    """However long nobody ran, the next attempt is when it was to be, or at once."""
    tally = Tally(world)

    @activity(retry=Retry(max_attempts=2, initial=timedelta(seconds=60), jitter=0))
    async def flaky() -> int:
        if tally() == 1:
            raise ConnectionError
        return activity.attempt()

    @workflow
    async def flow() -> int:
        return await flaky()

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(20)
            return world.crash()

    left = world.run(main())
    world.passed_s += down_s

    assert world.finish(left, flow) == 2
    assert tally.seconds[1] == pytest.approx(max(60, 20 + down_s), abs=0.1)


def test_o37_a_call_without_a_place_waits_and_counts_no_attempt(world: World) -> None:
    """Of calls that wait for a thread each is attempted once, and the engine does not spin."""
    rounds: list[int] = []

    @activity
    def work(n: int) -> int:
        return n * activity.attempt()

    @workflow
    async def flow() -> int:
        async with join_set() as calls:
            for n in range(20):
                calls.submit(work, n)
            return sum([n async for n in calls])

    async def main() -> int:
        async with world.engine(threads=1) as engine:
            asyncio.get_running_loop().call_soon(rounds.append, 1)
            return await (await engine.submit(flow, id="f")).result()

    assert asyncio.run(main()) == sum(range(20))
    log = read_log(world.db, "f")
    assert [body["try"] for body in bodies(log, "attempt_started")] == [1] * 19
    assert "attempt_failed" not in kinds(log)


@pytest.mark.behaviour("P26")
def test_p24_an_attempt_that_takes_too_long_ends_and_its_late_result_is_dropped(
    world: World,
) -> None:
    """The time limit is recorded as a failure of the attempt, which code sees on replay too."""
    tally, seen = Tally(world), []

    @activity(retry=Retry(max_attempts=2, initial=timedelta(seconds=5), jitter=0), timeout=60)
    async def slow() -> str:
        tally()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(1)
        return "late"

    @workflow
    async def flow() -> str:
        try:
            return await slow()
        except ActivityTimedOut as error:
            seen.append(error.message)
        await sleep(100)
        return "went on"

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(150)
            return world.crash()

    assert world.finish(world.run(main()), flow) == "went on"
    assert tally.seconds[0] == 0
    assert 65 <= tally.seconds[1] <= 66
    assert len(seen) == 2
    assert seen[0] == seen[1]
