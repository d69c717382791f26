"""Workflows that are operated from outside, by tests of the commands."""

from __future__ import annotations

from pathlib import Path

from obelisk_ops import Signal, activity, sleep, stub, workflow

approve = Signal("approve", bool)


@activity
async def double(n: int) -> int:
    return 2 * n


@activity(queue="gpu")
async def trains() -> int:
    return 1


@activity
def note(file: str, text: str) -> None:
    with Path(file).open("a") as opened:
        opened.write(f"{text} {activity.idempotency_key()}\n")


@stub
def ask(question: str) -> str:
    raise NotImplementedError(question)


@workflow
async def adds(n: int) -> int:
    first = await double(n)
    second = await double(first)
    return first + second


@workflow
async def approved() -> str:
    return "yes" if await approve.receive() else "no"


@workflow
async def asks(question: str) -> str:
    return await ask(question)


@workflow
async def parent() -> str:
    return f"child said {await approved()}"


@workflow
async def naps(file: str) -> None:
    try:
        await sleep(3600)
    finally:
        await note(file, "cleaned up")


@workflow(cancellable=False)
async def stubborn() -> None:
    await sleep(3600)


@workflow
async def fails(n: int) -> int:
    doubled = await double(n)
    raise ValueError(f"not {doubled}")


@workflow
async def wants_a_gpu() -> int:
    return await trains()
