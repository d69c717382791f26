"""
A worker that is killed again and again; see test_kill.py.

    python doomed.py DATABASE SIDE-EFFECTS LIFE COUNT

Every attempt of an activity leaves a line when it starts and one when it ends, synced
to a file that the engine knows nothing of.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta

from obelisk_ops import Engine, Retry, activity, execution_id, join_set, random, sleep, workflow

QUICK = Retry(max_attempts=3, initial=timedelta(milliseconds=5), jitter=0)

_side: int = -1
_life = 0


def note(what: str, call: str, attempt: int) -> None:
    os.write(_side, f"{what} {call} {attempt} {_life}\n".encode())
    os.fsync(_side)


def begin() -> tuple[str, int]:
    call, attempt = activity.idempotency_key(), activity.attempt()
    note("start", call, attempt)
    return call, attempt


@activity(retry=QUICK)
async def add(a: int, b: int) -> int:
    """Add, on the loop."""
    call, attempt = begin()
    await asyncio.sleep(0.002)
    note("end", call, attempt)
    return a + b


@activity(retry=QUICK)
def double(a: int) -> int:
    """Double, in a thread."""
    call, attempt = begin()
    time.sleep(0.003)
    note("end", call, attempt)
    return 2 * a


@activity(retry=QUICK)
async def fails_at_first(a: int) -> int:
    """Fail once, and then answer."""
    call, attempt = begin()
    if attempt == 1:
        raise ValueError(call)
    note("end", call, attempt)
    return a


@activity(retry=Retry(max_attempts=1))
async def fails_always() -> None:
    """Fail for good."""
    call, attempt = begin()
    note("end", call, attempt)
    raise KeyError("always")


@workflow
async def chain(start: int) -> int:
    """Take one step after the other, with a pause and an error between them."""
    total = await add(start, 1)
    total = await double(total)
    await sleep(0.02)
    try:
        await fails_always()
    except KeyError:
        total += 100
    return await fails_at_first(total)


@workflow
async def spread(start: int) -> list[int]:
    """Do several things at the same time; leave one undone."""
    async with join_set("parts") as parts:
        for part in range(3):
            parts.submit(add, start, part)
            parts.submit(double, part)
        parts.submit_delay(3600)
        return sorted([await parts.next() for _ in range(6)])


@workflow
async def family(start: int) -> tuple[int, str, int]:
    """Let children do it, one in the block and one outside."""
    async with join_set() as children:
        children.submit(chain, start)
        first = await children.next()
    await sleep(0.01)
    return first + await chain(start + 1), execution_id(), random().randint(1, 1000)


FLOWS = (chain, spread, family)


async def live(database: str, life: int, count: int) -> None:
    """Submit *count* executions of each kind for every life so far, and wait for all."""
    async with Engine(database, workflows=FLOWS) as engine:
        handles = [
            await engine.submit(
                flow, number, id=f"{flow.name.rpartition('.')[2]}-{then}-{number}"
            )
            for then in range(life + 1)
            for number in range(count)
            for flow in FLOWS
        ]
        for handle in handles:
            os.write(_side, f"acked {handle.id} 0 {life}\n".encode())
        for handle in handles:
            await handle.result()


if __name__ == "__main__":
    _side = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    _life = int(sys.argv[3])
    sys.stdout.write("up\n")
    sys.stdout.flush()
    asyncio.run(live(sys.argv[1], _life, int(sys.argv[4])))
