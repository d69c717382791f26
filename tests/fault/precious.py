"""
A worker whose steps must be in the bucket; see test_replicated.py.

    python precious.py DATABASE DIARY

The diary lies elsewhere: it tells what was seen outside, an activity that ran or an answer
that was given, each once it has happened.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count

from obelisk_ops import Engine, activity, workflow

STEPS = 3
AT_ONCE = 8


def note(*words: object) -> None:
    """Write down what was seen."""
    line = " ".join(str(word) for word in words) + "\n"
    os.write(DIARY, line.encode())  # one write: whole, whatever dies


@activity
async def step(name: str, number: int) -> int:
    """Be seen."""
    note("ran", name, number)
    return number


@workflow
async def precious(name: str) -> int:
    """Take steps, one after the other."""
    total = 0
    for number in range(STEPS):
        total += await step(name, number)
    return total


async def submit_for_ever(engine: Engine, mark: str, worker: int) -> None:
    for number in count():
        name = f"{mark}-{worker}-{number}"
        handle = await engine.submit(precious, name, id=name)
        note("submitted", name)
        note("answered", name, await handle.result())


async def main() -> None:
    async with Engine(sys.argv[1], workflows=[precious], durability="replicated") as engine:
        mark = str(os.getpid())
        await asyncio.gather(*(submit_for_ever(engine, mark, w) for w in range(AT_ONCE)))


if __name__ == "__main__":
    DIARY = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    asyncio.run(main())
