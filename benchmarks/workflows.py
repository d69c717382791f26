"""Workflows that do nothing but be durable, and the marks their steps leave."""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import Any, TypeAlias

from obelisk_ops import activity, execution_id, join_set, sleep, workflow
from obelisk_ops.durable.flow.functions import Workflow

Counting: TypeAlias = Workflow[Any, int]

#: how long an activity waits for something that costs its machine nothing
WAIT_S = 0.02

#: when each step began, seconds of ``perf_counter``; marked by activities, not by workflows
marks: list[float] = []
#: when the activity after each timer began, seconds since the epoch, by execution
woken: dict[str, float] = {}
#: how many executions are in their held step
held: list[int] = []


@activity(name="bench.step")
async def step_async(number: int) -> int:
    """Return the number."""
    marks.append(perf_counter())
    return number


@activity(name="bench.step_def")
def step_thread(number: int) -> int:
    """Return the number."""
    marks.append(perf_counter())
    return number


@activity
async def hold(number: int) -> int:
    """Say that it began, and never end."""
    held.append(number)
    marks.append(perf_counter())
    await asyncio.Event().wait()
    return number


@activity(name="bench.wait")
async def wait(_number: int) -> float:
    """Wait as for another machine; return when that ended, seconds since the epoch."""
    await asyncio.sleep(WAIT_S)
    return time()


@activity
async def wake(who: str) -> None:
    """Note when this began."""
    woken[who] = time()


@workflow
async def asynchronous(steps: int) -> int:
    """Add numbers, one durable step each."""
    total = 0
    for number in range(steps):
        total += await step_async(number)
    return total


@workflow
async def threaded(steps: int) -> int:
    """Add numbers, one durable step each."""
    total = 0
    for number in range(steps):
        total += await step_thread(number)
    return total


@workflow
async def held_after(steps: int) -> int:
    """Take some steps, then one that never ends."""
    total = 0
    for number in range(steps):
        total += await step_async(number)
    return total + await hold(steps)


@workflow
async def sleeper(seconds: float) -> None:
    """Sleep, and note the waking."""
    await sleep(seconds)
    await wake(execution_id())


@workflow
async def waits(steps: int) -> float:
    """Wait for one thing after the other; return when the last one ended."""
    ended = 0.0
    for number in range(steps):
        ended = await wait(number)
    return ended


@workflow
async def fans_out(width: int) -> int:
    """Wait for many things at once; return how many those were."""
    async with join_set() as calls:
        for number in range(width):
            calls.submit(wait, number)
        return len([ended async for ended in calls])
