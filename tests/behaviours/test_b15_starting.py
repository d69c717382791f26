"""Members that cannot be started, and members that are started one at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from obelisk_ops import NotSerialisable, activity, first, gather, join_set, sleep, workflow
from obelisk_ops.core.ports import State
from tests.world import World, check_tables

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])


@activity
async def takes(name: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return name


@workflow
async def child(name: str, seconds: float) -> str:
    return await takes(name, seconds)


@pytest.mark.parametrize("how", [gather, first])
def test_p37_what_cannot_be_started_leaves_nothing_open(world: World, how: Any) -> None:
    """One of several has arguments that cannot be stored: the others are closed first."""

    nothing_json: Any = object()

    async def plain() -> None:
        await takes("plain", 1000)

    @workflow
    async def flow() -> str:
        try:
            await how(
                child("c", 50), takes("a", 1000), plain(), sleep(1000),
                takes(nothing_json, 1), plain(), takes("never asked for", 1), sleep(1),
            )  # fmt: skip
        except TypeError:
            return "not this"
        except NotSerialisable:
            return "closed"
        return ""

    async def main() -> str:
        async with world.engine(child) as engine:
            value = await (await engine.submit(flow, id="f")).result()
            assert {row.state for row in engine.list()} == {State.FINISHED}
            return value

    assert world.run(main()) == "closed"
    assert world.passed_s == pytest.approx(50, abs=1)
    check_tables(world.db)


@pytest.mark.parametrize("members", [0, 1, 5])
def test_p40_one_at_a_time_keeps_the_order(world: World, members: int) -> None:
    """A set that holds one member at a time answers in the order of the input; also none."""
    running: Counter[str] = Counter()
    most: list[int] = []

    @activity
    async def one(n: int) -> int:
        running["now"] += 1
        most.append(running["now"])
        await asyncio.sleep(10 - n)
        running["now"] -= 1
        return n

    @workflow
    async def flow() -> list[int]:
        answers = []
        async with join_set() as calls:
            for n in range(members):
                calls.submit(one, n)
                answers.append(await calls.next())
        return answers

    async def main() -> list[int]:
        async with world.engine() as engine:
            return await (await engine.submit(flow)).result()

    assert world.run(main()) == list(range(members))
    assert set(most) <= {1}
