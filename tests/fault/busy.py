"""A writer always in the middle of a commit: ``python busy.py DATABASE [end|steadily]``."""

from __future__ import annotations

import asyncio
import signal
import sys

from obelisk_ops import Engine, activity, workflow


@activity
async def step(number: int) -> str:
    """Return a text, longer or shorter."""
    if sys.argv[2:] == ["steadily"]:
        await asyncio.sleep(0.02)
    return "x" * (number % 700)


@workflow
async def count(steps: int) -> int:
    """Take steps."""
    for number in range(steps):
        await step(number)
    return steps


async def main() -> None:
    async with Engine(sys.argv[1], workflows=[count]) as engine:
        for name in ("a", "b", "c"):
            await engine.submit(count, 1_000_000, id=name)
        print("up", flush=True)  # noqa: T201
        if sys.argv[2:] != ["end"]:
            told = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
            await told.wait()


asyncio.run(main())
