"""Workflows whose activities are of a queue that their owner does not serve, and who does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from obelisk_ops import Engine, Queue, Retry, activity, join_set, workflow
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import ActivityTimedOut, OutcomeUnknown
from tests.engines import Gate

SOON = timedelta(milliseconds=10)
started: Counter[str] = Counter()
gates: dict[str, Gate] = {}


class Declined(Exception):
    """What an activity gives up on."""


@activity(queue="gpu")
async def square(n: int) -> int:
    """Print and compute."""
    print(f"squaring {n}")  # noqa: T201
    return n * n


@activity(queue="gpu")
async def hold(name: str) -> str:
    """Wait until the test says so."""
    return await gates[name].pass_through(name)


@activity(queue="gpu", at_most_once=True)
async def hold_once(name: str) -> str:
    """Do the same, at most once."""
    return await gates[name].pass_through(name)


@activity(queue="gpu")
def hold_thread(name: str) -> str:
    """Do the same in a thread, which nobody can cancel."""
    return gates[name].pass_thread(name)


@activity(queue="gpu", retry=Retry(initial=SOON, give_up_on=(Declined,)))
def decline(n: int) -> int:
    """Fail for good."""
    started["decline"] += 1
    raise Declined(f"not {n}")


@activity(queue="gpu", timeout=0.05, retry=Retry(max_attempts=2, initial=SOON))
async def too_slow() -> int:
    """Take too long."""
    started["too_slow"] += 1
    await asyncio.sleep(60)
    return 1


@activity(queue="gpu", retry=Retry(initial=SOON))
def halfway() -> list[Any]:
    """Fail once, and go on from where that was."""
    found = activity.heartbeat_details(list[int])
    if found is None:
        activity.heartbeat([1, 2])
        raise ValueError("once")
    return [activity.attempt(), *found]


@workflow
async def squares(count: int) -> list[int]:
    """Ask for many at once."""
    async with join_set() as calls:
        for n in range(count):
            calls.submit(square, n)
        return sorted([n async for n in calls])


@workflow
async def holds(name: str) -> str:
    """Ask for one."""
    return await hold(name)


@workflow
async def holds_a_thread(name: str) -> str:
    """Ask for one that goes on whatever happens to who asked."""
    return await hold_thread(name)


@workflow
async def holds_once(name: str) -> str:
    """Ask for one at most once."""
    try:
        return await hold_once(name)
    except OutcomeUnknown:
        return "unknown"


@workflow
async def declines() -> str:
    """See the error by its class."""
    try:
        return str(await decline(1))
    except Declined as error:
        return f"declined: {error}"


@workflow
async def waits_too_long() -> str:
    """See a timeout."""
    try:
        return str(await too_slow())
    except ActivityTimedOut:
        return "timed out"


@workflow
async def goes_on() -> list[Any]:
    """See heartbeats arrive."""
    return await halfway()


ALL: list[Workflow[..., Any]] = [
    squares, holds, holds_a_thread, holds_once, declines, waits_too_long, goes_on,
]  # fmt: skip


def owner(url: str, **more: Any) -> Engine:
    return Engine(url, workflows=ALL, **more)


def worker(url: str, **more: Any) -> Engine:
    given: dict[str, Any] = {
        "workflows": ALL,
        "queues": [Queue("gpu", concurrency=4)],
        "grace": 0,
    }
    return Engine(url, serve="activities", **given | more)


@asynccontextmanager
async def doomed(url: str) -> AsyncIterator[Engine]:
    """Yield a worker that ends as if its process had been killed."""
    async with worker(url) as engine:
        yield engine
        assert engine._worker is not None
        claiming = engine._worker._claiming
        claiming._timer.cancel()
        claiming._failed = lambda _: None
        claiming._counter.abandon()
