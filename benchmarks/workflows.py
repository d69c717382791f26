"""Workflows that do nothing but be durable."""

from __future__ import annotations

from typing import Any, TypeAlias

from obelisk_ops import activity, workflow
from obelisk_ops.durable.functions import Workflow

Counting: TypeAlias = Workflow[Any, int]


@activity
async def step_async(number: int) -> int:
    """Return the number."""
    return number


@activity
def step_thread(number: int) -> int:
    """Return the number."""
    return number


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
