"""
One of several workers, which is killed, stopped or cut off; see test_workers.py.

    python working.py URL SIDE-EFFECTS [HOURS]

Every attempt of an activity leaves a line when it starts and one when it ends, in a file that
the engine knows nothing of. Its clock may be wrong by hours. Ends when its input does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from obelisk_ops import Engine, Retry, Signal, activity, sleep, workflow
from obelisk_ops.core.clock import SystemClock

go = Signal("go", int)

_side: int = -1


def note(what: str) -> tuple[str, int]:
    call, attempt = activity.idempotency_key(), activity.attempt()
    os.write(_side, f"{what} {call} {attempt} {os.getpid()}\n".encode())
    return call, attempt


@activity(retry=Retry(max_attempts=3, initial=timedelta(milliseconds=5), jitter=0))
async def step(n: int) -> int:
    """Take a moment."""
    note("start")
    await asyncio.sleep(0.01)
    note("end")
    return n + 1


@workflow
async def part(n: int) -> int:
    """Take a step; a child."""
    return await step(n)


@workflow
async def errand(n: int) -> int:
    """Take steps, wait, and have a child."""
    n = await step(n)
    await sleep(0.02)
    n = await part(n)
    return await step(n)


@activity
async def hold(gate: str) -> str:
    """Wait until a file is there."""
    note("start")
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - a test makes it
        await asyncio.sleep(0.01)
    note("end")
    return gate


@workflow
async def held(gate: str) -> str:
    """Wait for a file; then for a signal."""
    await hold(gate)
    await go.receive()
    return gate


class Wrong(SystemClock):
    """A clock that goes wrong by some hours."""

    def __init__(self, hours: int) -> None:
        self._ms = hours * 3_600_000

    def now_ms(self) -> int:
        return super().now_ms() + self._ms

    def elapsed_ms(self) -> int:
        return super().elapsed_ms() + self._ms


async def serve(url: str, side: str, workflows: Sequence[Any], hours: int = 0) -> None:
    global _side  # noqa: PLW0603 - of the process
    _side = os.open(side, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with Engine(url, workflows=workflows, grace=0, clock=Wrong(hours)) as engine:
        print("up", flush=True)  # noqa: T201
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        failed = asyncio.create_task(engine.failed())
        await asyncio.wait([ended, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            print(failed.exception(), file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)


if __name__ == "__main__":
    _, database, file, *hours = sys.argv
    asyncio.run(serve(database, file, [errand, part, held], *map(int, hours)))
