"""A new execution with the beginning of another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from obelisk_ops import Signal, activity, join_set, random, sleep, uuid4, workflow
from obelisk_ops.errors import Conflict, ExecutionExists, ExecutionNotFound, InvalidInput
from tests.databases import Database
from tests.engines import kinds, read_log
from tests.world import World, check_tables, knows, story

number = Signal("number", int)
did: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    did.clear()


@activity
async def act(n: int) -> int:
    did[activity.idempotency_key()] += 1
    return n


@workflow
async def child() -> str:
    await sleep(10)
    return "child"


@workflow
async def steps() -> list[Any]:
    values: list[Any] = [random().randint(0, 10**6), str(uuid4())]
    values += [await act(n) for n in range(5)]
    return [*values, random().randint(0, 10**6), await number.receive(timeout=60)]


async def original(world: World) -> list[Any]:
    async with world.engine() as engine:
        handle = await engine.submit(steps, id="f")
        await asyncio.sleep(1)
        await handle.signal(number, 7)
        return await handle.result()


@pytest.mark.parametrize("version", [1, 2, 5, 10, 12])
def test_p46_a_fork_keeps_what_was_before_as_it_is(world: World, version: int) -> None:
    """Byte for byte but for its lineage; the same chance; new calls under its own name."""
    value = world.run(original(world))
    known = read_log(world.db, "f")
    did.clear()

    async def main() -> list[Any]:
        async with world.engine(steps) as engine:
            fork = await engine.fork("f", from_version=version, id="g")
            await asyncio.sleep(1)
            await fork.signal(number, 8)
            again: list[Any] = await fork.result()
            return again

    forked = world.run(main())

    log = read_log(world.db, "g")
    assert [e.body for e in log[1:version]] == [e.body for e in known[1:version]]
    created = msgspec.json.decode(log[0].body)
    assert created["forked_from"] == {"id": "f", "version": version}
    assert forked[:-1] == value[:-1]
    assert forked[-1] in (7, 8)
    assert set(did) <= {f"g/{n}" for n in range(1, 6)}
    assert read_log(world.db, "f") == known
    check_tables(world.db)


def test_p46_what_cannot_be_forked_says_so(world: World) -> None:
    """No such execution, no such version, an id that is taken, a child without an end."""

    @workflow
    async def parent() -> str:
        return await child()

    async def main() -> None:
        async with world.engine(child) as engine:
            handle = await engine.submit(parent, id="f")
            with pytest.raises(ExecutionNotFound):
                await engine.fork("nobody", from_version=1, id="g")
            for version in (0, 99):
                with pytest.raises(InvalidInput):
                    await engine.fork("f", from_version=version, id="g")
            with pytest.raises(ExecutionExists):
                await engine.fork("f", from_version=1, id="f")
            with pytest.raises(Conflict, match="no outcome"):
                await engine.fork("f", from_version=2, id="g")
            await handle.result()
            fork = await engine.fork("f", from_version=2, id="g")
            assert await fork.result() == "child"
            assert {row.id for row in engine.list()} == {"f", "f/1", "g"}

    world.run(main())
    check_tables(world.db)


def test_p46_a_fork_is_there_wholly_or_not_at_all(world: World) -> None:
    """Killed at any moment of forking: its prefix is whole, or there is no fork yet."""
    world.run(original(world))

    async def main() -> list[Database]:
        async with world.engine(steps) as engine:
            fork = await engine.fork("f", from_version=6, id="g")
            await fork.signal(number, 8)
            await fork.result()
            return [db for db in world.every_crash() if knows(db, "g")]

    crashes = world.run(main())
    wanted = story(world.db)["g"]
    assert len(crashes) > 2
    for db in crashes:
        assert story(db)["g"][:5] == wanted[:5]
        assert len(story(db)["g"]) >= 6


def test_p46_what_was_open_goes_on_under_the_new_name(world: World) -> None:
    """An activity in flight is attempted again, with its own key; a timer fires in time."""

    @activity
    async def slow() -> str:
        did[activity.idempotency_key()] += 1
        await asyncio.sleep(20)
        return activity.idempotency_key()

    @workflow
    async def flow() -> list[Any]:
        async with join_set() as calls:
            calls.submit(slow)
            calls.submit_delay(10)
            return [answer async for answer in calls]

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(5)
            fork = await engine.fork("f", from_version=3, id="g")
            assert await handle.result() == [None, "f/1"]
            assert await fork.result() == [None, "g/1"]

    world.run(main())

    assert did == {"f/1": 1, "g/1": 1}
    assert "parked" not in kinds(read_log(world.db, "g"))
    check_tables(world.db)
