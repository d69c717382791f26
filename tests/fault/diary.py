"""
A worker whose workflow writes log lines, and that is killed; see test_kill_lines.py.

    python diary.py DATABASE LINES COUNT
"""

from __future__ import annotations

import asyncio
import logging
import sys

from obelisk_ops import Engine, activity, sleep, workflow

log = logging.getLogger("diary")


@activity
async def act(n: int) -> int:
    return n


@workflow
async def diary(count: int) -> int:
    """Write a line after each thing that it is told."""
    log.info("begins")
    for n in range(1, count + 1):
        if n % 7:
            await act(n)
        else:
            await sleep(0.01)
        log.info("told %d", n)
    return count


async def main(database: str, count: int) -> None:
    async with Engine(database, workflows=[diary], strict=True) as engine:
        sys.stdout.write("up\n")
        sys.stdout.flush()
        await (await engine.submit(diary, count, id="d")).result()


if __name__ == "__main__":
    handler = logging.FileHandler(sys.argv[2])
    handler.setFormatter(logging.Formatter("%(execution_id)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    asyncio.run(main(sys.argv[1], int(sys.argv[3])))
