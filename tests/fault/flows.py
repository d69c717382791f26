"""
Workflows for tests that start other processes; known as ``flows`` there.

An attempt leaves a line in the file that its workflow was given, before it ends.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from obelisk_ops import Retry, activity, sleep, workflow


def leave_a_line(side: str) -> None:
    with Path(side).open("a") as file:
        file.write(f"{activity.idempotency_key()} {activity.attempt()}\n")


@activity
async def step(side: str, n: int) -> int:
    """Leave a line."""
    leave_a_line(side)
    return n


@activity
def slow(side: str, seconds: float) -> str:
    """Leave a line, and take a while, in a thread."""
    leave_a_line(side)
    time.sleep(seconds)
    return "slow"


@workflow
async def steps(side: str, count: int, pause_s: float = 0.0) -> int:
    """Take *count* steps, with a pause in the middle."""
    total = 0
    for n in range(count):
        total += await step(side, n)
        if pause_s and n == count // 2:
            await sleep(timedelta(seconds=pause_s))
    return total


@workflow
async def slowly(side: str, seconds: float) -> str:
    """Wait for a thread."""
    return await slow(side, seconds)


@workflow
async def fails(text: str, hint: str | None = None) -> None:
    """Fail."""
    raise LookupError(text)


@workflow
async def returns_nothing_storable() -> Any:
    """Return what JSON has no form for."""
    return asyncio.Lock()


@activity(retry=Retry(max_attempts=1))
async def declined() -> None:
    """Fail for good."""
    raise ValueError("card declined")


@workflow
async def pays() -> None:
    """Fail by an activity."""
    await declined()
