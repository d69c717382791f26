"""Queues with limits, heartbeats, output, and outcomes that nobody knows."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from obelisk_ops import (
    ActivityTimedOut,
    Queue,
    Retry,
    activity,
    join_set,
    sleep,
    workflow,
)
from obelisk_ops.errors import HeartbeatTimedOut, OutcomeUnknown
from obelisk_ops.storage import open_reader
from tests.databases import Database
from tests.engines import NEVER, bodies, read_log
from tests.world import World, check_tables

running: Counter[str] = Counter()
most: Counter[str] = Counter()
began: list[tuple[float, Any]] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    for seen in (running, most, began):
        seen.clear()


@activity(queue="gpu")
async def trains(n: int) -> int:
    running["gpu"] += 1
    most["gpu"] = max(most["gpu"], running["gpu"])
    began.append((asyncio.get_running_loop().time(), n))
    try:
        await asyncio.sleep(10)
    finally:
        running["gpu"] -= 1
    return n


@workflow
async def train(n: int) -> int:
    return await trains(n)


@workflow
async def sweep(count: int) -> int:
    async with join_set() as runs:
        for n in range(count):
            runs.submit(trains, n)
        return sum([n async for n in runs])


def test_p48_a_queue_with_one_place_is_never_over_it(world: World) -> None:
    """Not while it runs, not in recovery; the place of a process that died is free."""

    def gpu() -> dict[str, Any]:
        return {"queues": ("default", Queue("gpu", concurrency=1))}

    async def main() -> Database:
        async with world.engine(**gpu()) as engine:
            await engine.submit(sweep, 4, id="f")
            for n in range(3):
                await engine.submit(train, n, id=f"t{n}")
            await asyncio.sleep(25)
            return world.crash()

    async def go_on(db: Database) -> list[int]:
        async with world.engine(sweep, train, db=db, **gpu()) as engine:
            names = ("f", "t0", "t1", "t2")
            return [await engine.handle(name).result() for name in names]

    left = world.run(main())
    running.clear()
    began_again = world.passed_s

    assert world.run(go_on(left)) == [6, 0, 1, 2]
    assert most["gpu"] == 1
    assert world.passed_s - began_again == pytest.approx(50, abs=1)
    check_tables(left)


def test_p49_a_rate_spreads_starts(world: World) -> None:
    """Two starts in any ten seconds, however many want to."""

    def limited() -> dict[str, Any]:
        return {"queues": ("default", Queue("gpu", rate=2, per=10))}

    async def main() -> int:
        async with world.engine(**limited()) as engine:
            return await (await engine.submit(sweep, 6, id="f")).result()

    assert world.run(main()) == 15
    starts = sorted(at for at, _ in began)
    assert len(starts) == 6
    for first, third in zip(starts, starts[2:], strict=False):
        assert third - first >= 9.99


def test_p51_the_higher_priority_goes_first_and_then_the_older(world: World) -> None:
    """In one queue with one place; also for what waited when its process died."""

    @workflow
    async def asks(n: int, priority: int) -> int:
        return await trains.options(priority=priority)(n)

    def gpu() -> dict[str, Any]:
        return {"queues": ("default", Queue("gpu", concurrency=1))}

    wanted = [(1, 0), (2, 5), (3, 0), (4, 9), (5, 5)]

    async def main() -> Database:
        async with world.engine(**gpu()) as engine:
            await engine.submit(asks, 0, 0, id="e0")
            for n, priority in wanted:
                await engine.submit(asks, n, priority, id=f"e{n}")
            await asyncio.sleep(5)
            left = world.crash()
            for n in range(6):
                await engine.handle(f"e{n}").result()
            return left

    async def go_on(db: Database) -> None:
        async with world.engine(asks, db=db, **gpu()) as engine:
            for n in range(6):
                await engine.handle(f"e{n}").result()

    left = world.run(main())
    assert [n for _, n in began] == [0, 4, 2, 5, 1, 3]
    began.clear()
    world.run(go_on(left))
    assert [n for _, n in began if n] == [4, 2, 5, 1, 3]


@pytest.mark.parametrize("is_silent", [False, True])
def test_p25_a_heartbeat_keeps_an_attempt_alive(world: World, *, is_silent: bool) -> None:
    """Silent for too long it ends, is made again, and what it says late is dropped."""

    @activity(heartbeat_timeout=timedelta(seconds=10), retry=Retry(max_attempts=2, jitter=0))
    async def works() -> int:
        for _ in range(6):
            if not is_silent or activity.attempt() == 2:
                activity.heartbeat()
            await asyncio.sleep(5)
        return activity.attempt()

    @workflow
    async def flow() -> int:
        value = await works()
        await sleep(60)
        return value

    async def main() -> int:
        async with world.engine() as engine:
            return await (await engine.submit(flow, id="f")).result()

    assert world.run(main()) == (2 if is_silent else 1)
    failed = bodies(read_log(world.db, "f"), "attempt_failed")
    assert [HeartbeatTimedOut.__name__ in one["error"]["type"] for one in failed] == (
        [True] if is_silent else []
    )
    assert len(bodies(read_log(world.db, "f"), "returned")) == 1


def test_p03_an_outcome_that_nobody_knows_is_told_and_not_tried(world: World) -> None:
    """Killed within an at-most-once activity: the workflow is told, and decides."""
    ran: list[int] = []

    @activity(at_most_once=True)
    async def pay() -> str:
        ran.append(activity.attempt())
        await asyncio.sleep(10)
        return "paid"

    @workflow
    async def flow() -> str:
        try:
            return await pay()
        except OutcomeUnknown as error:
            await sleep(10)
            return f"asked the bank: {type(error).__name__}"

    async def main() -> Database:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(5)
            left = world.crash()
            assert await handle.result() == "paid"
            return left

    left = world.run(main())

    assert world.finish(left, flow) == "asked the bank: OutcomeUnknown"
    assert ran == [1]
    check_tables(left)


def test_p03_what_did_not_start_is_not_unknown(world: World) -> None:
    """A call that waited for its turn when the process died is simply made."""
    ran: Counter[int] = Counter()

    @activity(at_most_once=True, queue="gpu")
    async def pay(n: int) -> int:
        ran[n] += 1
        await asyncio.sleep(10)
        return n

    @workflow
    async def flow(n: int) -> int:
        try:
            return await pay(n)
        except OutcomeUnknown:
            return -1

    def one() -> dict[str, Any]:
        return {"queues": ("default", Queue("gpu", concurrency=1))}

    async def main() -> Database:
        async with world.engine(**one()) as engine:
            for n in range(3):
                await engine.submit(flow, n, id=f"e{n}")
            await asyncio.sleep(5)
            return world.crash()

    async def go_on(db: Database) -> list[int]:
        async with world.engine(flow, db=db, **one()) as engine:
            return [await engine.handle(f"e{n}").result() for n in range(3)]

    left = world.run(main())
    assert world.run(go_on(left)) == [-1, 1, 2]
    assert ran == {0: 1, 1: 1, 2: 1}


def test_p24_a_late_result_is_dropped_also_when_a_cancel_is_swallowed(world: World) -> None:
    """An attempt that will not end at its limit has failed at its limit all the same."""
    attempts = itertools.count(1)

    @activity(retry=NEVER, timeout=60)
    async def stubborn() -> str:
        next(attempts)
        for _ in range(20):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue
        return "late"

    @workflow
    async def flow() -> str:
        try:
            return await stubborn()
        except ActivityTimedOut:
            return "in time"

    async def main() -> tuple[str, float]:
        async with world.engine() as engine:
            value = await (await engine.submit(flow, id="f")).result()
            return value, world.passed_s

    value, took = world.run(main())

    assert value == "in time"
    assert took == pytest.approx(60, abs=0.1)


def test_o58_what_an_activity_printed_is_there_after_a_crash(world: World) -> None:
    """Its lines are in the commit that has its outcome, by attempt."""

    @activity(retry=Retry(max_attempts=2, jitter=0))
    async def talks() -> None:
        print(f"this is attempt {activity.attempt()}")  # noqa: T201 - it is kept
        if activity.attempt() == 1:
            raise ConnectionError

    @workflow
    async def flow() -> None:
        await talks()

    async def main() -> Database:
        async with world.engine() as engine:
            await (await engine.submit(flow, id="f")).result()
            return world.crash()

    left = world.run(main())

    with closing(open_reader(left)) as reader:
        row = reader.find("f")
        assert row is not None
        said = [(one.attempt, one.text) for one in reader.outputs(row.key)]
    assert said == [(1, "this is attempt 1\n"), (2, "this is attempt 2\n")]
