"""
What a crash leaves behind, and how the next engine goes on from it.

A crash is a copy of the files, taken between two commits; the copy is what an owner
that was killed at that moment would have left.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    Engine,
    Nondeterminism,
    Retry,
    activity,
    join_set,
    random,
    run,
    sleep,
    uuid4,
    workflow,
)
from obelisk_ops.core.ports import State
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import ExecutionNotFound, FunctionNotFound, NotFinished
from obelisk_ops.storage import open_store
from obelisk_ops.storage.sqlite.store import SqliteStore
from tests.databases import Database
from tests.engines import Gate, crash, kinds, read_log, the_tables_fit_the_logs, until
from tests.support import PATIENCE_S
from tests.world import World


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return tmp_path / "after"


async def finish(database: Path, *flows: Workflow[..., Any], name: str = "f") -> Any:
    async with Engine(database, workflows=flows) as engine:
        return await engine.handle(name).result()


def check_tables(database: Database) -> None:
    with closing(open_store(database)) as store:
        the_tables_fit_the_logs(store)


def test_a_sleep_goes_on_with_what_is_left_of_it(world: World) -> None:
    @workflow
    async def flow() -> str:
        await sleep(60)
        return "awake"

    async def begin() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(30)
            return world.crash()

    copy = world.run(begin())
    check_tables(copy)

    assert world.finish(copy, flow) == "awake"
    assert world.passed_s == pytest.approx(60, abs=1)
    assert kinds(read_log(copy, "f")) == ["created", "timer_set", "timer_fired", "finished"]
    check_tables(copy)


def test_a_timer_that_came_due_meanwhile_fires_once_and_at_once(db: Path, after: Path) -> None:
    @workflow
    async def flow() -> None:
        await sleep(0.05)

    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(flow, id="f")
            copy = crash(db, after)
        await asyncio.sleep(0.1)
        await finish(copy, flow)

    asyncio.run(main())

    assert kinds(read_log(after / db.name, "f")).count("timer_fired") == 1


def test_a_backoff_goes_on_with_what_is_left_of_it(world: World) -> None:
    attempts: list[float] = []

    @activity(retry=Retry(max_attempts=2, initial=timedelta(seconds=60), jitter=0))
    async def flaky() -> str:
        attempts.append(world.passed_s)
        if len(attempts) == 1:
            raise ConnectionError
        return f"attempt {activity.attempt()}"

    @workflow
    async def flow() -> str:
        return await flaky()

    async def begin() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await until(lambda: attempts, "the first attempt")
            await asyncio.sleep(30)
            return world.crash()

    assert world.finish(world.run(begin()), flow) == "attempt 2"
    assert attempts[1] - attempts[0] == pytest.approx(60, abs=1)


def test_an_attempt_cut_short_is_made_again_and_is_no_failure(db: Path, after: Path) -> None:
    gate = Gate()

    @activity(retry=Retry(max_attempts=1))
    async def act(name: str) -> str:
        await gate.pass_through(name)
        return f"attempt {activity.attempt()}, {activity.idempotency_key()}"

    @workflow
    async def flow() -> str:
        return await act("x")

    async def main() -> Any:
        async with Engine(db, grace=0) as engine:
            await engine.submit(flow, id="f")
            await until(lambda: gate.started["x"], "the activity starts")
            copy = crash(db, after)
        gate.open()
        return await finish(copy, flow)

    assert asyncio.run(main()) == "attempt 2, f/1"
    assert kinds(read_log(after / db.name, "f")) == [
        "created", "intended", "attempt_started", "returned", "finished",
    ]  # fmt: skip


def test_a_crash_with_a_family_in_the_middle(db: Path, after: Path) -> None:
    gate = Gate()

    @activity
    async def act(name: str) -> str:
        return await gate.pass_through(name)

    @workflow
    async def child(name: str) -> str:
        return f"{await act(name)} {random().randint(1, 10**9)}"

    @workflow
    async def parent() -> list[str]:
        async with join_set() as children:
            for name in "abc":
                children.submit(child, name)
            answers = sorted([answer async for answer in children])
        return [*answers, str(uuid4())]

    async def main() -> tuple[Any, Any]:
        async with Engine(db, workflows=[child]) as engine:
            handle = await engine.submit(parent, id="f")
            await until(lambda: len(gate.started) == 3, "all children are at it")
            copy = crash(db, after)
            gate.open()
            undisturbed = await handle.result()
        return undisturbed, await finish(copy, parent, child)

    undisturbed, resumed = asyncio.run(main())

    assert resumed == undisturbed
    check_tables(after / db.name)
    with closing(SqliteStore(after / db.name)) as store:
        assert store.last_key() == 4, "no child was created twice"


def test_the_order_of_ends_is_the_same_after_a_crash(db: Path, after: Path) -> None:
    ended: list[int] = []

    @activity
    async def wait(place: int) -> int:
        await until(lambda: len(ended) == place, "those before it have ended")
        ended.append(place)
        return place

    @workflow
    async def flow() -> list[int]:
        async with join_set() as calls:
            for place in (2, 1, 0):
                calls.submit(wait, place)
            order = [place async for place in calls]
        await sleep(0.2)
        return order

    async def main() -> Any:
        async with Engine(db) as engine:
            await engine.submit(flow, id="f")
            await until(lambda: "timer_set" in kinds(read_log(db, "f")), "the pause")
            copy = crash(db, after)
        return await finish(copy, flow)

    assert asyncio.run(main()) == [0, 1, 2]


def test_a_child_that_ended_while_its_parent_was_not_served(db: Path) -> None:
    @workflow
    async def child(n: int) -> int:
        await sleep(0.05)
        return n

    @workflow
    async def parent() -> int:
        return await child(5) + await child(6)

    async def main() -> Any:
        async with Engine(db, workflows=[child], grace=0) as engine:
            await engine.submit(parent, id="f")
        async with Engine(db, workflows=[child]) as engine:
            await engine.handle("f/1").result()
            with pytest.raises(FunctionNotFound, match="not served here"):
                await engine.handle("f").result()
        return await finish(db, parent, child)

    assert asyncio.run(main()) == 11


def test_a_child_that_was_never_served_is_begun_later(db: Path) -> None:
    """It may end in the round in which its parent is taken up, and still be heard."""

    @workflow
    async def child(n: int) -> int:
        return n

    children = {"chosen at run time": child}

    @workflow
    async def parent() -> int:
        return await children["chosen at run time"](5)

    async def main() -> Any:
        async with Engine(db, grace=0) as engine:
            await engine.submit(parent, id="f")
            assert engine.handle("f/1").status().state is State.PENDING
        return await asyncio.wait_for(finish(db, child, parent), PATIENCE_S)

    assert asyncio.run(main()) == 5
    check_tables(db)


def test_unfinished_executions_go_on_with_their_module(db: Path) -> None:
    gate = Gate()

    @activity
    async def act() -> str:
        return await gate.pass_through("x")

    @workflow
    async def flow() -> str:
        return await act()

    async def main() -> str:
        async with Engine(db, grace=0) as engine:
            handle = await engine.submit(flow, id="f")
            waiting = asyncio.create_task(handle.result())
            await until(lambda: gate.started["x"], "the activity starts")
        with pytest.raises(NotFinished, match="closed before"):
            await waiting
        gate.open()
        async with Engine(db) as engine:
            with pytest.raises(FunctionNotFound, match="not served"):
                await engine.handle("f").result()
            with pytest.raises(ExecutionNotFound):
                engine.handle("nobody")
            handle = await engine.submit(flow, id="f")  # names it: it goes on
            assert not handle.created
            return await handle.result()

    assert asyncio.run(main()) == "x"


def test_changed_code_parks_and_mended_code_goes_on(world: World) -> None:
    @activity
    async def act(n: int) -> int:
        return n

    def version(step: int, *, mended: str = "") -> Workflow[[], str]:
        @workflow(name="flow")
        async def flow() -> str:
            first = await act(step)
            await sleep(60)
            return f"{first}{mended}"

        return flow

    async def begin() -> None:
        async with world.engine() as engine:
            await engine.submit(version(1), id="f")
            await until(lambda: kinds(read_log(world.db, "f"))[-1] == "timer_set", "the pause")

    async def parks() -> State:
        async with world.engine(version(2)) as engine:
            with pytest.raises(Nondeterminism, match=r"version 1.*act\(1\).*act\(2\)"):
                await engine.handle("f").result()
            return engine.handle("f").status().state

    world.run(begin())
    states = [world.run(parks()) for _ in range(2)]  # twice: it is not parked again and again
    check_tables(world.db)

    assert states == [State.PARKED] * 2
    assert world.finish(world.db, version(1, mended=", mended")) == "1, mended"
    assert kinds(read_log(world.db, "f")) == [
        "created", "intended", "returned", "timer_set", "parked", "resumed", "timer_fired",
        "finished",
    ]  # fmt: skip
    check_tables(world.db)


def test_one_damaged_log_does_not_stop_the_others(db: Path) -> None:
    @workflow
    async def flow() -> str:
        await sleep(0.1)
        return "done"

    async def main() -> Any:
        async with Engine(db, grace=0) as engine:
            await engine.submit(flow, id="damaged")
            await engine.submit(flow, id="f")
        with closing(SqliteStore(db)) as store:
            store._connection.execute(
                "UPDATE log SET body = '{' WHERE execution = 1 AND version = 1"
            )
        async with Engine(db, workflows=[flow]) as engine:
            with pytest.raises(Nondeterminism, match="cannot be read"):
                await engine.handle("damaged").result()
            return await engine.handle("f").result()

    assert asyncio.run(main()) == "done"


def test_a_long_log_is_replayed_soon(db: Path) -> None:
    @activity
    async def act(n: int) -> int:
        return n

    @workflow
    async def flow() -> int:
        total = 0
        for n in range(2000):
            total += await act(n)
        await sleep(0.01)
        return total

    async def main() -> tuple[Any, float]:
        async with Engine(db, grace=0) as engine:
            await engine.submit(flow, id="f")
            await until(
                lambda: engine.handle("f").status().state is State.BLOCKED, "the pause", 60
            )
        started = time.process_time()
        return await finish(db, flow), time.process_time() - started

    value, took = asyncio.run(main())

    assert value == sum(range(2000))
    assert took < 3


def test_run_goes_on_where_a_run_was_stopped(db: Path) -> None:
    ran: list[int] = []

    @activity
    def act(n: int) -> int:
        ran.append(n)
        if n == 2 and ran.count(2) == 1:
            raise KeyboardInterrupt
        return n

    @workflow
    async def flow() -> int:
        return await act(1) + await act(2)

    assert run(flow, db=db, id="f") == 3
    assert ran == [1, 2, 2]
