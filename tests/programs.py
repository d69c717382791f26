"""
Random small workflows as data: one workflow does what they say, with durable calls.

What they must answer says the model in model.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec

from obelisk_ops import (
    Cancelled,
    Engine,
    Retry,
    Signal,
    activity,
    continue_as_new,
    first,
    gather,
    join_set,
    patched,
    random,
    saga,
    schedule,
    sleep,
    stub,
    timeout,
    workflow,
)
from obelisk_ops.core.fold import fold
from obelisk_ops.errors import AlreadyAnswered, ExecutionEnded

Program = list[Any]
LONG = 3600.0

AT_ONCE = Retry(max_attempts=2, initial=timedelta(milliseconds=1))

given = Signal("given", int)
never = Signal("never", int)


@activity(name="programs.call")
async def call(n: int) -> int:
    await asyncio.sleep(0.001 * (n % 3))
    return n


@activity(name="programs.thread")
def thread(n: int) -> int:
    return 10 * n


@activity(name="programs.flaky", retry=AT_ONCE)
async def flaky(n: int) -> int:
    if activity.attempt() == 1:
        raise ConnectionError(n)
    return 100 * n


@activity(name="programs.fail", retry=AT_ONCE)
async def fail(n: int) -> int:
    raise KeyError(n)


@activity(name="programs.hang")
async def hang() -> None:
    await asyncio.Event().wait()


@stub(name="programs.decide")
def decide(n: int) -> int:
    raise NotImplementedError


CALLS = {"call": call, "thread": thread, "flaky": flaky, "fail": fail, "stub": decide}
VALUES = {"call": 1, "thread": 10, "flaky": 100, "stub": 7}

# -- the workflow ---------------------------------------------------------------------------


@workflow(name="programs.interpret")
async def interpret(program: Program) -> list[Any]:
    """Do what a program says, durably."""
    out: list[Any] = []
    for what, *rest in program:
        if what in CALLS or what == "sleep":
            out += await leaves([(what, *rest)])
        elif what in CHILDREN:
            out.append(await CHILDREN[what](*rest))
        else:
            out.append(await OTHERS[what](*rest))
    return out


async def leaves(part: Program) -> list[Any]:
    out: list[Any] = []
    for what, n in part:
        if what == "sleep":
            await sleep(n / 1000)
        else:
            out.append(await CALLS[what](n))
    return out


async def draw() -> int:
    return random().randint(0, 1000)


async def is_patched() -> bool:
    return patched("better")


async def receive() -> int | None:
    return await given.receive(timeout=LONG)


async def attempted(program: Program) -> Any:
    try:
        return await interpret(program)
    except KeyError as error:
        return f"caught {error}"


async def all_of(programs: list[Program]) -> list[Any]:
    async with join_set() as members:
        for program in programs:
            members.submit(interpret, program)
        return sorted([str(answer) async for answer in members])


async def gathered(parts: list[Program]) -> list[Any]:
    return await gather(*[leaves(part) for part in parts])


async def settled(parts: list[Program]) -> list[str]:
    answers = await gather(*[leaves(part) for part in parts], return_exceptions=True)
    return [str(answer) for answer in answers]


async def first_of(pauses: list[int]) -> int:
    index, _ = await first(*[sleep(pause / 1000) for pause in pauses])
    return index


async def race(loser: str, part: Program) -> Any:
    async def loses() -> Any:
        if loser == "hang":
            return await hang()
        return await (sleep(LONG) if loser == "nap" else never.receive())

    index, value = await first(loses(), leaves(part))
    return [index, value]


async def scheduled(program: Program) -> str:
    return str(schedule(interpret, program))


@workflow(name="programs.late")
async def late(part: Program) -> str:
    try:
        async with timeout(0.05):
            await leaves(part)
            await sleep(LONG)
    except TimeoutError:
        return "late"
    return "never"


@workflow(name="programs.in_time")
async def in_time(part: Program) -> list[Any]:
    async with timeout(LONG):
        return await leaves(part)


@workflow(name="programs.sleeper", cancellable=True)
async def sleeper(n: int) -> None:
    try:
        await sleep(LONG)
    except Cancelled:
        await call(n)
        raise


@workflow(name="programs.drop")
async def drop(n: int) -> int:
    async with join_set("dropped") as members:
        members.submit(sleeper, n)
        return await call(n)


@workflow(name="programs.undo")
async def undo(n: int) -> str:
    try:
        async with saga() as steps:
            await call(n)
            steps.add(call, n + 1)
            steps.add(fail, n)
            raise KeyError(n)  # noqa: TRY301 - what is undone
    except KeyError as error:
        return f"undone {error}"


@workflow(name="programs.count")
async def count(n: int, total: int = 0) -> int:
    await call(n)
    if n > 0:
        continue_as_new(n - 1, total + n)
    return total


CHILDREN: dict[str, Any] = {
    "child": interpret, "late": late, "intime": in_time, "drop": drop, "undo": undo,
    "count": count,
}  # fmt: skip
OTHERS: dict[str, Any] = {
    "draw": draw, "patched": is_patched, "receive": receive, "try": attempted, "all": all_of,
    "gather": gathered, "settle": settled, "first": first_of, "race": race,
    "schedule": scheduled,
}  # fmt: skip
FLOWS: list[Any] = [interpret, late, in_time, sleeper, drop, undo, count]


# -- from outside ---------------------------------------------------------------------------


async def send_signals(engine: Engine, name: str, program: Program) -> None:
    """Send what the program receives; again after a crash, which changes nothing."""
    with suppress(ExecutionEnded):
        for at in range(sum(what == "receive" for what, *_ in program)):
            await engine.handle(name).signal(given, at, id=f"{name}-{at}")


async def answer_stubs(engine: Engine) -> int:
    """Answer every stub that is wanted; return how many of them let an execution go on."""
    answered = 0
    for row in engine.list(limit=100_000):
        if row.state == "finished":
            continue
        for call_ in fold(engine.read_log(row.id)).calls.values():
            if call_.kind == "stub" and call_.outcome is None:
                with suppress(ExecutionEnded, AlreadyAnswered):
                    asked = next(
                        body["in"][0]
                        for body in bodies_of(engine, row.id)
                        if body.get("n") == call_.n and body.get("fn") == decide.name
                    )
                    await engine.stub(f"{row.id}/{call_.n}", 7 * asked)
                    # Also where it was answered before a death: it goes on now. One that is
                    # paused does not: whoever plays it must know that nothing happens.
                    answered += row.state != "paused"
    return answered


def bodies_of(engine: Engine, execution_id: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event.body) for event in engine.read_log(execution_id)]
