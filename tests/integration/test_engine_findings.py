"""What an engine once got wrong, at its edges: closing, slots, contexts, odd exceptions."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from obelisk_ops import (
    Engine,
    ExecutionFailed,
    Nondeterminism,
    activity,
    sleep,
    workflow,
)
from obelisk_ops.core.ports import State
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import NotFinished
from obelisk_ops.storage.sqlite.store import SqliteStore
from tests.engines import (
    NEVER,
    Gate,
    bodies,
    kinds,
    read_log,
    soon,
    the_tables_fit_the_logs,
    until,
)
from tests.support import wait_until

T = TypeVar("T")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def check_tables(database: Path) -> None:
    with closing(SqliteStore(database)) as store:
        the_tables_fit_the_logs(store)
        [(orphans,)] = store._connection.execute(
            "SELECT count(*) FROM log WHERE execution NOT IN (SELECT key FROM state)"
        )
        assert orphans == 0


@workflow
async def quick(value: int) -> int:
    return value


@workflow
async def sleeper() -> None:
    await sleep(1000)


def test_a_call_that_waits_for_a_thread_is_not_forgotten(db: Path) -> None:
    gate = Gate()

    @activity
    def work(name: str) -> str:
        return gate.pass_thread(name)

    @workflow
    async def flow(name: str) -> str:
        return await work(name)

    def the_loop_is_busy_while_a_ends() -> None:
        gate.open()
        wait_until(lambda: gate.ended["a"], 2, "the activity ends")
        time.sleep(0.05)  # and its thread has told the loop, which does not look

    async def main() -> list[str]:
        async with Engine(db, threads=1, grace=0) as engine:
            a = await engine.submit(flow, "a", id="a")
            await until(lambda: gate.started["a"], "the activity starts")
            the_loop_is_busy_while_a_ends()
            b = await engine.submit(flow, "b", id="b")
            return [await a.result(), await b.result()]

    assert soon(main()) == ["a", "b"]


@pytest.mark.parametrize("rounds", range(1, 4))
def test_whoever_waits_while_the_engine_closes_is_told(db: Path, rounds: int) -> None:
    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(sleeper, id="a")
        async with Engine(db, grace=0) as engine:
            asking = asyncio.create_task(engine.submit(sleeper, id="b"))
            waiting = asyncio.create_task(engine.handle("a").result())
            for _ in range(rounds):
                await asyncio.sleep(0)
        with pytest.raises(NotFinished):
            await waiting
        await asyncio.gather(asking, return_exceptions=True)

    soon(main())


@pytest.mark.parametrize("rounds", range(4))
def test_a_letter_may_ask_for_what_is_served_only_later(db: Path, rounds: int) -> None:
    async def main() -> list[int]:
        async with Engine(db, grace=0) as engine, Engine(db, serve=False) as client:
            asked = await client.submit(quick, 1, id="asked")
            for _ in range(rounds):
                await asyncio.sleep(0)
            own = await engine.submit(quick, 2, id="own")
            return [await own.result(), await asked.result()]

    assert soon(main()) == [2, 1]


tenant = contextvars.ContextVar("tenant", default="nobody")


@activity
async def login(who: str) -> None:
    tenant.set(who)
    decimal.setcontext(decimal.Context(prec=3))


@activity
def login_in_a_thread(who: str) -> None:
    tenant.set(who)
    decimal.setcontext(decimal.Context(prec=4))


def context() -> str:
    return f"{tenant.get()} {decimal.getcontext().prec}"


@activity
async def whoami() -> str:
    return context()


@activity
def whoami_in_a_thread() -> str:
    return context()


@workflow
async def asks_who() -> set[str]:
    return {context(), await whoami(), context(), await whoami_in_a_thread(), context()}


@workflow
async def logs_in() -> set[str]:
    await login("alice")
    seen = {context(), *await asks_who()}
    await login_in_a_thread("bob")
    return {context(), *await asks_who()} | seen


def test_a_context_goes_no_further_than_its_activity_or_caller(db: Path) -> None:
    async def calls(engine: Engine) -> set[str]:
        tenant.set("the caller")
        handle = await engine.submit(logs_in)
        return await handle.result()

    async def main() -> set[str]:
        async with Engine(db, grace=0) as engine:
            return await asyncio.create_task(calls(engine))

    assert soon(main()) == {f"nobody {decimal.Context().prec}"}


def reads(code: Callable[..., Any]) -> Workflow[..., Any]:
    return workflow(name="reads")(code)


@pytest.mark.parametrize("change", ["one more", "another type"])
@pytest.mark.behaviour("O43")
def test_input_that_no_longer_fits_parks_the_execution(db: Path, change: str) -> None:
    gate = Gate()

    @activity
    async def act(text: str) -> str:
        return await gate.pass_through(text)

    async def old(value: int) -> str:
        return await act(str(value))

    async def one_more(value: int, more: int) -> str:
        return await act(str(value + more))

    async def another_type(value: list[str]) -> str:
        return await act(value[0])

    changes: dict[str, Callable[..., Any]] = {
        "one more": one_more,
        "another type": another_type,
    }
    new = changes[change]

    async def main() -> str:
        async with Engine(db, grace=0) as engine:
            await engine.submit(reads(old), 1, id="f")
            await until(lambda: gate.started["1"], "the activity starts")
        for _ in range(2):
            async with Engine(db, workflows=[reads(new)], grace=0) as engine:
                handle = engine.handle("f")
                with pytest.raises(Nondeterminism):
                    await handle.result()
                assert handle.status().state is State.PARKED
        gate.open()
        async with Engine(db, workflows=[reads(old)]) as engine:
            return str(await engine.handle("f").result())

    assert soon(main()) == "1"
    assert kinds(read_log(db, "f")).count("parked") == 1
    check_tables(db)


class Abort(BaseException):
    """As a test framework raises to leave a test."""


async def abort() -> None:
    raise Abort("stop")


async def abort_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(abort())


@pytest.mark.parametrize("breaks", [abort, abort_in_a_group])
def test_whatever_an_activity_raises_is_its_outcome(
    db: Path, breaks: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    act = activity(retry=NEVER)(breaks)

    @workflow
    async def flow() -> None:
        await act()

    async def main() -> int:
        async with Engine(db, grace=0) as engine:
            handle = await engine.submit(flow, id="f")
            with pytest.raises(ExecutionFailed, match=r": (stop|unhandled errors)"):
                await handle.result()
            return await (await engine.submit(quick, 1)).result()

    assert soon(main()) == 1
    [returned] = bodies(read_log(db, "f"), "returned")
    assert returned["error"]["type"].rpartition(".")[2] in ("Abort", "BaseExceptionGroup")
    check_tables(db)


@activity
async def fine() -> None:
    pass


@workflow
async def aborts_at_once() -> None:
    await abort()


@workflow
async def aborts_later() -> None:
    await fine()
    await abort()


@workflow
async def has_such_a_child() -> None:
    await aborts_at_once()


@pytest.mark.parametrize("flow", [aborts_at_once, aborts_later, has_such_a_child])
def test_whatever_a_workflow_raises_is_its_outcome(db: Path, flow: Workflow[[], None]) -> None:
    async def main() -> int:
        async with Engine(db, grace=0) as engine:
            handle = await engine.submit(flow, id="f")
            with pytest.raises(ExecutionFailed, match=": stop"):
                await handle.result()
        check_tables(db)
        async with Engine(db, grace=0) as engine:
            return await (await engine.submit(quick, 1)).result()

    assert soon(main()) == 1
    assert kinds(read_log(db, "f"))[-1] == "finished"


def test_leaving_that_is_cancelled_leaves_nothing_running(db: Path) -> None:
    running: list[int] = []

    @activity
    async def act() -> int:
        running.append(activity.attempt())
        try:
            if activity.attempt() == 1:
                await asyncio.sleep(60)
            return activity.attempt()
        finally:
            running.remove(activity.attempt())

    @workflow
    async def flow() -> int:
        return await act()

    waiting: list[asyncio.Task[int]] = []

    async def session() -> None:
        async with Engine(db, grace=10) as engine:
            handle = await engine.submit(flow, id="f")
            waiting.append(asyncio.create_task(handle.result()))
            await asyncio.sleep(60)

    async def main() -> Any:
        task = asyncio.create_task(session())
        await until(lambda: running and waiting, "the activity starts")
        for _ in range(2):  # the second time in the grace
            task.cancel()
            await asyncio.sleep(0.05)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert running == []
        with pytest.raises(NotFinished):
            await waiting[0]
        async with Engine(db, workflows=[flow], grace=0) as engine:
            return await engine.handle("f").result()

    assert soon(main()) == 2
    check_tables(db)


def test_a_time_limit_does_not_hold_what_has_ended(db: Path) -> None:
    @activity(timeout=timedelta(hours=1))
    def work(text: str) -> int:
        return len(text)

    @workflow
    async def flow(size: int) -> int:
        return await work("x" * size)

    async def main() -> int:
        async with Engine(db, grace=0) as engine:
            await (await engine.submit(flow, 300_000)).result()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(20):
                await (await engine.submit(flow, 300_000)).result()
            after, _ = tracemalloc.get_traced_memory()
            return after - before

    tracemalloc.start()
    try:
        held = soon(main())
    finally:
        tracemalloc.stop()
    assert held < 1_500_000
