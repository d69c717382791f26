"""Workflows that schedules start in tests, and engines on a clock that is moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from obelisk_ops import Engine, Signal, continue_as_new, execution_id, sleep, workflow
from obelisk_ops.testing import EngineForTests, MovableClock

HOURLY = "0 * * * *"
BEGIN = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
go_on = Signal("go-on", bool)


@workflow
async def quick(n: int) -> str:
    return f"{execution_id()} {n}"


@workflow
async def slow(hours: float) -> str:
    await sleep(timedelta(hours=hours))
    return execution_id()


@workflow
async def patient() -> bool | None:
    return await go_on.receive()


@workflow(cancellable=False)
async def stubborn() -> None:
    await sleep(timedelta(minutes=100))


@workflow
async def two_parts(n: int) -> int:
    await sleep(timedelta(minutes=50))
    if n < 2:
        continue_as_new(n + 1)
    return n


@asynccontextmanager
async def serving(
    db: Path, clock: MovableClock, **options: Any
) -> AsyncIterator[EngineForTests]:
    given = {"workflows": [quick, slow, patient, two_parts]} | options
    async with EngineForTests(db, clock=clock, **given) as engine:
        yield engine


@asynccontextmanager
async def asking(db: Path, clock: MovableClock) -> AsyncIterator[Engine]:
    async with Engine(db, serve=False, clock=clock) as engine:
        yield engine


def made(engine: Engine, state: str | None = None) -> list[str]:
    """Return the times of the executions, without the day."""
    return [row.id.partition("T")[2] for row in engine.list(state=state, limit=10_000)]
