"""Queues: limits and priorities hold, and what is not served waits."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, Queue, activity, join_set, run, workflow
from obelisk_ops.core.events import Event
from obelisk_ops.errors import ConfigError, VersionConflict
from tests.engines import Gate, bodies, kinds, read_log, until
from tests.support import PATIENCE_S


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


class Bench:
    """Activities that note who ran, and how many at the same time."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self.now = 0
        self.most = 0

    async def use(self, what: Any) -> Any:
        self.order.append(what)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return what


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_queue_runs_no_more_than_its_concurrency(db: Path, kind: str) -> None:
    running: Counter[str] = Counter()
    most = 0

    def enter() -> None:
        nonlocal most
        running["now"] += 1
        most = max(most, running["now"])

    @activity(queue="gpu")
    async def train(n: int) -> int:
        enter()
        await asyncio.sleep(0.01)
        running["now"] -= 1
        return n

    @activity(queue="gpu")
    def train_in_thread(n: int) -> int:
        enter()
        time.sleep(0.01)
        running["now"] -= 1
        return n

    function = train if kind == "async def" else train_in_thread

    @workflow
    async def flow(first: int) -> list[int]:
        async with join_set() as calls:
            for n in range(first, first + 5):
                calls.submit(function, n)
            return [n async for n in calls]

    async def drive() -> None:
        async with Engine(db, queues=("default", Queue("gpu", concurrency=2))) as engine:
            handles = [await engine.submit(flow, 10 * n) for n in range(4)]
            for number, handle in enumerate(handles):
                got = sorted(await handle.result())
                assert got == list(range(10 * number, 10 * number + 5))

    asyncio.run(drive())

    assert most == 2


def test_the_higher_priority_goes_first(db: Path) -> None:
    bench = Bench()

    @activity(queue="one", priority=1)
    async def step(n: int) -> int:
        return int(await bench.use(n))

    @workflow
    async def flow() -> int:
        async with join_set() as calls:
            calls.submit(step, 0)
            for n in (1, 2):
                calls.submit(step, n)
            for n in (3, 4):
                calls.submit(step.options(priority=9), n)
            calls.submit(step.options(priority=-9), 5)
            return len([n async for n in calls])

    async def drive() -> None:
        async with Engine(db, queues=[Queue("one", concurrency=1)]) as engine:
            await (await engine.submit(flow, id="f")).result()

    asyncio.run(drive())

    assert bench.order == [0, 3, 4, 1, 2, 5]
    assert bench.most == 1
    wanted = [
        (body.get("queue"), body.get("priority"))
        for body in bodies(read_log(db, "f"), "intended")
    ]
    assert wanted == [("one", 1)] * 3 + [("one", 9)] * 2 + [("one", -9)]


def test_the_default_queue_is_left_out_of_the_log(db: Path) -> None:
    @activity
    async def step() -> int:
        return 1

    @workflow
    async def flow() -> int:
        return await step()

    run(flow, db=db, id="f")

    [body] = bodies(read_log(db, "f"), "intended")
    assert sorted(body) == ["fn", "in", "n", "try"]


def test_a_rate_spreads_starts(db: Path) -> None:
    @activity(queue="api")
    async def ask(n: int) -> int:
        return n

    @workflow
    async def flow() -> int:
        async with join_set() as calls:
            for n in range(7):
                calls.submit(ask, n)
            return len([n async for n in calls])

    async def drive() -> list[Event]:
        async with Engine(db, queues=[Queue("api", rate=3, per=0.3)]) as engine:
            handle = await engine.submit(flow)
            assert await handle.result() == 7
            return handle.events()

    # By the log: when a start was allowed, not when a busy machine got round to it.
    starts = [event.at for event in asyncio.run(drive()) if '"try":1' in event.body]
    assert len(starts) == 7
    assert all(b - a >= 300 for a, b in zip(starts, starts[3:], strict=False)), starts


def test_what_is_not_served_waits_for_an_engine_that_does(db: Path) -> None:
    gate = Gate()
    gate.open()

    @activity(queue="gpu")
    async def train() -> str:
        return await gate.pass_through("train")

    @activity
    async def prepare() -> str:
        return await gate.pass_through("prepare")

    @workflow
    async def flow() -> str:
        return await prepare() + await train()

    async def without() -> None:
        async with Engine(db) as engine:
            await engine.submit(flow, id="f")
            await until(lambda: "returned" in kinds(read_log(db, "f")), "the first step")
            handle = await engine.submit(flow, id="g")
            await until(lambda: "returned" in kinds(handle.events()), "another goes on")
            assert gate.started == {"prepare": 2}

    async def with_gpu() -> str:
        async with Engine(db, workflows=[flow], queues=("gpu",)) as engine:
            return str(await engine.handle("f").result())

    asyncio.run(without())
    assert asyncio.run(with_gpu()) == "preparetrain"
    assert kinds(read_log(db, "f")) == [
        "created", "intended", "returned", "intended", "attempt_started", "returned",
        "finished",
    ]  # fmt: skip


def test_a_lone_slot_is_free_again_after_a_restart(db: Path) -> None:
    gate = Gate()

    @activity(queue="gpu")
    async def train(n: int) -> str:
        return await gate.pass_through(f"{n}")

    @workflow
    async def flow(n: int) -> str:
        return await train(n)

    async def cut_short() -> None:
        async with Engine(db, queues=[Queue("gpu", concurrency=1)], grace=0) as engine:
            for n in range(3):
                await engine.submit(flow, n, id=f"{n}")
            await until(lambda: gate.started["0"], "the first runs")

    async def go_on() -> list[str]:
        gate.open()
        async with Engine(db, workflows=[flow], queues=[Queue("gpu", concurrency=1)]) as engine:
            return [await engine.handle(f"{n}").result() for n in range(3)]

    asyncio.run(cut_short())
    assert asyncio.run(go_on()) == ["0", "1", "2"]
    assert gate.started == {"0": 2, "1": 1, "2": 1}


def test_a_place_is_free_again_when_its_attempt_was_refused(db: Path) -> None:
    """Somebody else has written to the log: what was decided is not durable, and not done."""

    @activity
    async def prepare() -> None:
        await asyncio.sleep(0.2)

    @activity(queue="gpu")
    async def train(n: int) -> int:
        return n

    @workflow
    async def flow(n: int) -> int:
        if n == 0:
            await prepare()
        return await train(n)

    async def drive() -> int:
        async with Engine(db, queues=["default", Queue("gpu", concurrency=1)]) as engine:
            guilty = await engine.submit(flow, 0, id="guilty")
            row = ((guilty.status().key << 32) + len(guilty.events()), 0, "parked", "{}")
            with closing(sqlite3.connect(db)) as connection:
                connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", row)
                connection.commit()
            with pytest.raises(VersionConflict):
                await guilty.result()
            return await (await engine.submit(flow, 7)).result()

    assert asyncio.run(asyncio.wait_for(drive(), PATIENCE_S)) == 7


def test_many_waiting_calls_that_nobody_wants_any_more_leave_the_line(db: Path) -> None:
    bench = Bench()

    @activity(queue="one")
    async def step(n: int) -> int:
        return int(await bench.use(n))

    @workflow
    async def flow() -> int:
        async with join_set() as calls:
            for n in range(50):
                calls.submit(step, n)
            first: int = await calls.next()
        return first + await step(1000)

    async def drive() -> int:
        async with Engine(db, queues=[Queue("one", concurrency=1)]) as engine:
            return await (await engine.submit(flow)).result()

    assert asyncio.run(drive()) == 1000
    assert len(bench.order) <= 4


def test_queues_are_a_list_of_names(db: Path) -> None:
    with pytest.raises(ConfigError, match="is no list"):
        Engine(db, queues="gpu")
