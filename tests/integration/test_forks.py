"""Forks in an engine: what the prefix holds is told again, what was open goes on."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    Engine,
    Signal,
    activity,
    now,
    random,
    sleep,
    stub,
    uuid4,
    workflow,
)
from obelisk_ops.core.ports import State
from obelisk_ops.errors import Conflict, ExecutionExists, InvalidInput
from obelisk_ops.storage import open_reader
from tests.engines import bodies, kinds, until
from tests.support import PATIENCE_S

go = Signal("go", int)
seen: list[tuple[str, object]] = []


@activity
async def see(what: str | int) -> str:
    seen.append((activity.idempotency_key(), what))
    return activity.idempotency_key()


@stub
def ask() -> int:
    raise NotImplementedError


@workflow
async def draws() -> list[str]:
    first = await see(f"{now().isoformat()} {random().random()} {uuid4()}")
    second = await see(f"{now().isoformat()} {random().random()}")
    return [first, second]


@workflow
async def counts() -> int:
    total = await go.receive()
    return (total or 0) + 10 * (await go.receive() or 0)


@workflow
async def child() -> int:
    return await ask()


@workflow
async def parent() -> int:
    one = await child()
    await see(one)
    return one


@workflow(timeout=3600)
async def naps() -> str:
    await sleep(0.05)
    return await see("awake")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    seen.clear()
    return tmp_path / "runs.db"


WORKFLOWS: list[Any] = [draws, counts, child, parent, naps]


def test_time_and_chance_are_those_of_the_original(db: Path) -> None:
    async def main() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            await (await engine.submit(draws, id="a")).result()
            fork = await engine.fork("a", from_version=3, id="b")
            assert await fork.result() == ["a/1", "b/2"]
            assert fork.events()[1:3] == engine.handle("a").events()[1:3]
            again = await engine.fork("b", from_version=1, id="c")
            assert await again.result() == ["c/1", "c/2"]
            assert fork.status().created_at >= engine.handle("a").status().created_at

    asyncio.run(main())

    told = {key: str(what).split()[1:] for key, what in seen}
    # Chance goes on from where it was; the time is that of what the code is told.
    assert told["c/1"] == told["a/1"]
    assert told["b/2"] == told["c/2"] == told["a/2"]


def test_signals_that_had_arrived_have_arrived(db: Path) -> None:
    async def main() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            origin = await engine.submit(counts, id="a")
            await until(lambda: len(origin.events()) == 2, "it waits")
            await origin.signal(go, 1)
            await until(lambda: len(origin.events()) == 4, "it waits again")
            fork = await engine.fork("a", from_version=4)
            await fork.signal(go, 2)
            await origin.signal(go, 3)
            assert (await fork.result(), await origin.result()) == (21, 31)
            assert fork.id == "a.fork-4"

    asyncio.run(main())


def test_an_open_child_is_taken_over_or_refused(db: Path) -> None:
    async def main() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            origin = await engine.submit(parent, id="a")
            await until(lambda: engine.find("a/1") is not None, "the child is there")
            await until(lambda: len(engine.handle("a/1").events()) == 2, "it waits")
            with pytest.raises(Conflict, match="'a/1'"):
                await engine.fork("a", from_version=2)
            await engine.stub("a/1/1", 7)
            assert await origin.result() == 7

            fork = await engine.fork("a", from_version=2, id="b")
            assert await fork.result() == 7
            assert engine.find("b/1") is None
            before = await engine.fork("a", from_version=1, id="c")
            await until(lambda: engine.find("c/1") is not None, "it has a child of its own")
            await until(lambda: len(engine.handle("c/1").events()) == 2, "it waits")
            await engine.stub("c/1/1", 8)
            assert await before.result() == 8

    asyncio.run(main())
    assert seen == [("a/2", 7), ("b/2", 7), ("c/2", 8)]


def test_a_timer_of_the_prefix_fires(db: Path) -> None:
    async def main() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            await (await engine.submit(naps, id="a")).result()
            fork = await engine.fork("a", from_version=2, id="b")
            assert await asyncio.wait_for(fork.result(), PATIENCE_S) == "b/2"
            log = fork.events()
            assert kinds(log)[:3] == ["created", "timer_set", "timer_fired"]
            assert bodies(log, "created")[0]["forked_from"] == {"id": "a", "version": 2}

    asyncio.run(main())
    with closing(open_reader(db)) as reader:
        row = reader.find("b")
        assert row is not None
        assert row.state is State.FINISHED


def test_an_activity_that_ran_by_then_runs_again(db: Path) -> None:
    async def main() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            await (await engine.submit(draws, id="a")).result()
            fork = await engine.fork("a", from_version=2, id="b")  # call 1 was in flight
            assert await fork.result() == ["b/1", "b/2"]

    asyncio.run(main())
    assert dict(seen)["b/1"] == dict(seen)["a/1"]


def test_a_fork_that_cannot_be(db: Path) -> None:
    async def main() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            await (await engine.submit(draws, id="a")).result()
            for version in (0, 6, 99):
                with pytest.raises(InvalidInput):
                    await engine.fork("a", from_version=version)
            with pytest.raises(ExecutionExists):
                await engine.fork("a", from_version=3, id="a")

    asyncio.run(main())


def test_what_was_asked_of_a_fork_before_it_is_begun_is_kept(db: Path) -> None:
    """Nobody serves it yet; the letters are answered in their order."""

    async def prepare() -> None:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            origin = await engine.submit(counts, id="a")
            await origin.signal(go, 1)
            await until(lambda: len(origin.events()) == 4, "it has one")

    async def ask() -> None:
        async with Engine(db, serve=False) as engine:
            fork = await engine.fork("a", from_version=4, id="b")
            assert fork.status().state is State.PENDING
            assert [row.id for row in engine.list(state="pending")] == ["b"]
            await fork.signal("go", 5)

    async def serve() -> int:
        async with Engine(db, workflows=WORKFLOWS) as engine:
            await until(lambda: engine.find("b") is not None, "it is there")
            value: int = await engine.handle("b").result()
            return value

    asyncio.run(prepare())
    asyncio.run(ask())
    assert asyncio.run(serve()) == 51
