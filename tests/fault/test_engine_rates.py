"""The rate of a queue holds over processes: ended, killed, and with clocks that are set."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Queue, activity, join_set, workflow
from obelisk_ops.storage import open_store
from tests.databases import Database
from tests.world import World, check_tables

MANY, PER_S, CALLS = 3, 60, 12


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def limited() -> dict[str, Any]:
    return {"queues": ("default", Queue("api", rate=MANY, per=PER_S))}


class Calls:
    """A workflow that calls a limited service, and when it did, by a clock nobody sets."""

    def __init__(self, world: World, takes_s: float = 0) -> None:
        self.at: list[float] = []

        @activity(queue="api")
        async def ask(n: int) -> int:
            self.at.append(world.passed_s)
            await asyncio.sleep(takes_s)
            return n

        @workflow
        async def flow() -> int:
            async with join_set() as calls:
                for n in range(CALLS):
                    calls.submit(ask, n)
                return len([n async for n in calls])

        self.flow = flow

    def fit(self) -> None:
        for first, later in zip(self.at, self.at[MANY:], strict=False):
            assert later - first >= PER_S - 0.01, self.at


@pytest.mark.behaviour("P49")
@pytest.mark.parametrize("set_by_s", [0, -7200, 7200])
def test_engines_that_are_killed_one_after_the_other(world: World, set_by_s: float) -> None:
    calls = Calls(world, takes_s=0.5)

    async def live(db: Database, begin: float) -> Database | None:
        async with world.engine(calls.flow, db=db, **limited()) as engine:
            await engine.submit(calls.flow, id="f")
            await asyncio.sleep(begin)
            done = engine.row("f").state == "finished"
            return None if done else world.crash(db)

    last = world.db
    db: Database | None = last
    lives = [0.2, 5, 61, 130] + 10 * [77]
    while db is not None:
        last = db
        db = world.run(live(db, lives.pop(0)))
        world.set_clock(set_by_s)

    calls.fit()
    assert len(calls.at) >= CALLS
    check_tables(last)


def test_an_engine_that_is_left_and_comes_again(world: World) -> None:
    calls = Calls(world)

    async def one_minute() -> None:
        async with world.engine(calls.flow, **limited()) as engine:
            await engine.submit(calls.flow, id="f")
            await asyncio.sleep(59)

    for _ in range(6):
        world.run(one_minute())

    calls.fit()
    assert len(calls.at) == CALLS
    with closing(open_store(world.db)) as store:
        assert sum(many for *_, many in store.starts()) <= 2 * MANY  # what is past has gone


def test_what_has_no_rate_writes_nothing_for_it(world: World) -> None:
    calls = Calls(world)

    async def main() -> None:
        async with world.engine(queues=("default", Queue("api", concurrency=2))) as engine:
            await (await engine.submit(calls.flow, id="f")).result()

    world.run(main())

    with closing(open_store(world.db)) as store:
        assert store.starts() == []
