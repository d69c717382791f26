"""
The workflows whose histories are kept. Never change one: write another.

Each file beside this one holds an execution of one of them, as some version of the
program has recorded it; `python -m tests.golden.record NAME` adds one.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from obelisk_ops import (
    Cancelled,
    Retry,
    Signal,
    activity,
    continue_as_new,
    execution_id,
    first,
    gather,
    join_set,
    now,
    patched,
    random,
    saga,
    schedule,
    sleep,
    stub,
    timeout,
    uuid4,
    workflow,
)

HOURLY = Retry(max_attempts=3, initial=timedelta(hours=1), jitter=0)
ONCE = Retry(max_attempts=1)

go = Signal("go", int)


@activity(name="golden.add")
async def add(a: int, b: int) -> int:
    return a + b


@activity(name="golden.thread")
def thread(n: int) -> int:
    return 10 * n


@activity(name="golden.flaky", retry=HOURLY)
async def flaky(n: int) -> int:
    if activity.attempt() < 3:
        raise ConnectionError(f"attempt {activity.attempt()}")
    return n


@activity(name="golden.fails", retry=ONCE)
async def fails(why: str) -> int:
    raise ValueError(why)


@activity(name="golden.hangs")
async def hangs() -> None:
    await asyncio.Event().wait()


@stub(name="golden.decide")
def decide(question: str) -> str:
    raise NotImplementedError


@workflow(name="golden.activities")
async def activities(n: int) -> list[Any]:
    out: list[Any] = [await add(n, 1), await thread(n), await flaky(n)]
    try:
        await fails("card declined")
    except ValueError as error:
        out.append(str(error))
    return out


@workflow(name="golden.failure")
async def failure(why: str) -> int:
    return await fails(why)


@workflow(name="golden.instants")
async def instants() -> list[str]:
    begun = now()
    await sleep(timedelta(days=1))
    return [begun.isoformat(), now().isoformat(), str(random().random()), str(uuid4())]


@workflow(name="golden.child")
async def child(n: int) -> int:
    await sleep(n)
    return await add(n, n)


@workflow(name="golden.joins")
async def joins() -> list[Any]:
    out: list[Any] = []
    async with join_set("mixed") as members:
        members.submit(add, 1, 2)
        members.submit(child, 3)
        members.submit_delay(1)
        out += [answer async for answer in members]
    async with join_set() as rest:
        rest.submit(hangs)
        rest.submit(child, 2)
        rest.submit_delay(3600)
        rest.submit(add, 5, 5)
        out.append(await rest.next())
    return out


@workflow(name="golden.parent")
async def parent() -> list[Any]:
    out: list[Any] = [await child(1)]
    try:
        await failure("from a child")
    except ValueError as error:
        out.append(str(error))
    return out


@workflow(name="golden.signals")
async def signals() -> list[Any]:
    return [await go.receive(), await go.receive(timeout=60), await go.receive(timeout=60)]


@workflow(name="golden.misfits")
async def misfits() -> list[Any]:
    odd = Signal("odd", int)  # not known before it is waited for
    await sleep(1)
    return [await odd.receive(), await odd.receive(timeout=60)]


@workflow(name="golden.stubs")
async def stubs() -> list[str]:
    out = [await decide("first?")]
    try:
        await decide("second?")
    except ValueError as error:
        out.append(str(error))
    return out


@workflow(name="golden.cancelled", cancellable=True)
async def cancelled() -> str:
    try:
        async with saga() as undo:
            await add(1, 1)
            undo.add(add, -1, -1)
            undo.add(thread, 7)
            await sleep(3600)
    except Cancelled:
        await add(0, 0)
        raise
    return "never"


@workflow(name="golden.cancels")
async def cancels() -> str:
    async with join_set() as members:
        members.submit(cancelled)
        members.submit_delay(1)
        await members.next()
    return "closed"


@workflow(name="golden.late", timeout=timedelta(minutes=1))
async def late() -> str:
    try:
        await sleep(3600)
    finally:
        await add(0, 0)
    return "never"


@workflow(name="golden.side_by_side")
async def side_by_side() -> list[Any]:
    async def two_steps(n: int) -> int:
        return await add(n, await add(n, 1))

    out: list[Any] = [await gather(two_steps(1), add(2, 2), two_steps(3))]
    out.append(await gather(fails("no"), add(1, 1), return_exceptions=True))
    out[-1] = [repr(one) for one in out[-1]]
    out.append(list(await first(child(3600), sleep(2), hangs())))
    try:
        async with timeout(5):
            await gather(sleep(60), hangs())
    except TimeoutError:
        out.append("timeout")
    return out


@workflow(name="golden.plans")
async def plans() -> list[str]:
    return [schedule(child, 1), schedule(child, 2, after=timedelta(hours=1))]


@workflow(name="golden.counts")
async def counts(n: int) -> int:
    total = await add(n, 1)
    if total < 3:
        continue_as_new(total)
    return total


@workflow(name="golden.changed")
async def changed(n: int) -> int:
    if patched("double"):
        n *= 2
    return await add(n, 1)


@workflow(name="golden.steps")
async def steps(n: int) -> list[Any]:
    out: list[Any] = [execution_id()]
    for at in range(n):
        out.append(await add(at, at))
        await sleep(1)
    return out


FLOWS = {
    function.name: function
    for function in (
        activities, failure, instants, child, joins, parent, signals, stubs, cancelled, cancels,
        late, side_by_side, plans, counts, changed, steps, misfits,
    )
}  # fmt: skip
