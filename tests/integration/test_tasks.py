"""Attempts that another worker makes: an owner and activity workers in one process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, Queue, Retry, activity, join_set, workflow
from obelisk_ops.core import tasks
from obelisk_ops.durable import offers
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import (
    ActivityTimedOut,
    ConfigError,
    CrashLoop,
    ExecutionCancelled,
    OutcomeUnknown,
)
from tests.commands import run_here
from tests.engines import Gate, bodies, looped, until
from tests.postgres import Postgres

SOON = timedelta(milliseconds=10)
started: Counter[str] = Counter()
gates: dict[str, Gate] = {}


class Declined(Exception):
    """What an activity gives up on."""


@activity(queue="gpu")
async def square(n: int) -> int:
    """Print and compute."""
    print(f"squaring {n}")  # noqa: T201
    return n * n


@activity(queue="gpu")
async def hold(name: str) -> str:
    """Wait until the test says so."""
    return await gates[name].pass_through(name)


@activity(queue="gpu", at_most_once=True)
async def hold_once(name: str) -> str:
    """Do the same, at most once."""
    return await gates[name].pass_through(name)


@activity(queue="gpu", retry=Retry(initial=SOON, give_up_on=(Declined,)))
def decline(n: int) -> int:
    """Fail for good."""
    started["decline"] += 1
    raise Declined(f"not {n}")


@activity(queue="gpu", timeout=0.05, retry=Retry(max_attempts=2, initial=SOON))
async def too_slow() -> int:
    """Take too long."""
    started["too_slow"] += 1
    await asyncio.sleep(60)
    return 1


@activity(queue="gpu", retry=Retry(initial=SOON))
def halfway() -> list[Any]:
    """Fail once, and go on from where that was."""
    found = activity.heartbeat_details(list[int])
    if found is None:
        activity.heartbeat([1, 2])
        raise ValueError("once")
    return [activity.attempt(), *found]


@workflow
async def squares(count: int) -> list[int]:
    """Ask for many at once."""
    async with join_set() as calls:
        for n in range(count):
            calls.submit(square, n)
        return sorted([n async for n in calls])


@workflow
async def holds(name: str) -> str:
    """Ask for one."""
    return await hold(name)


@workflow
async def holds_once(name: str) -> str:
    """Ask for one at most once."""
    try:
        return await hold_once(name)
    except OutcomeUnknown:
        return "unknown"


@workflow
async def declines() -> str:
    """See the error by its class."""
    try:
        return str(await decline(1))
    except Declined as error:
        return f"declined: {error}"


@workflow
async def waits_too_long() -> str:
    """See a timeout."""
    try:
        return str(await too_slow())
    except ActivityTimedOut:
        return "timed out"


@workflow
async def goes_on() -> list[Any]:
    """See heartbeats arrive."""
    return await halfway()


ALL: list[Workflow[..., Any]] = [squares, holds, holds_once, declines, waits_too_long, goes_on]


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    started.clear()
    monkeypatch.setattr(offers, "_LOOK_S", 0.05)
    # However long this process stands still, who lives is not taken for dead.
    monkeypatch.setattr(tasks, "GRACE_MS", 60_000)
    with postgres.lent() as lent:
        yield lent


@pytest.fixture
def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take whose connection is gone for dead almost at once."""
    monkeypatch.setattr(offers, "_AGAIN_S", 0.05)
    monkeypatch.setattr(tasks, "GRACE_MS", 100)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gates["a"] = Gate()
    yield gates["a"]
    gates.clear()


def owner(url: str, **more: Any) -> Engine:
    return Engine(url, workflows=ALL, **more)


def worker(url: str, **more: Any) -> Engine:
    given: dict[str, Any] = {
        "workflows": ALL,
        "queues": [Queue("gpu", concurrency=4)],
        "grace": 0,
    }
    return Engine(url, serve="activities", **given | more)


@asynccontextmanager
async def doomed(url: str) -> AsyncIterator[Engine]:
    """Yield a worker that ends as if its process had been killed."""
    async with worker(url) as engine:
        yield engine
        assert engine._worker is not None
        claiming = engine._worker._claiming
        claiming._timer.cancel()
        claiming._failed = lambda _: None
        claiming._counter.abandon()


@looped
async def test_what_an_owner_does_not_serve_is_done_by_a_worker(url: str) -> None:
    async with owner(url) as engine, worker(url):
        handle = await engine.submit(squares, 7, id="a")
        assert await handle.result() == [n * n for n in range(7)]

        log = handle.events()
        assert [one.kind for one in log].count("attempt_started") == 7
        reader = engine._reader()
        said = {output.n: output.text for output in reader.outputs(engine.row("a").key)}
        assert said == {n + 1: f"squaring {n}\n" for n in range(7)}
        assert engine._owner is not None
        assert engine._owner._held.board is not None
        await until(lambda: engine._owner._held.board.tasks() == [], "no row is left")


@looped
async def test_errors_timeouts_and_heartbeats_are_as_at_home(url: str) -> None:
    async with owner(url) as engine, worker(url):
        handles = [await engine.submit(flow) for flow in (declines, waits_too_long, goes_on)]
        assert [await handle.result() for handle in handles] == [
            "declined: not 1", "timed out", [2, 1, 2],
        ]  # fmt: skip
        assert started == {"decline": 1, "too_slow": 2}
        [failed] = bodies(handles[2].events(), "attempt_failed")
        assert failed["error"]["type"] == "ValueError"
        assert "In halfway" not in failed["error"]["message"]
        assert "halfway" in failed["error"]["traceback"]
        await until(
            lambda: engine._reader().beats(engine.row(handles[2].id).key) == {}, "beats go"
        )


@looped
async def test_a_cancel_reaches_the_worker(url: str, gate: Gate) -> None:
    async with owner(url) as engine, worker(url) as other:
        handle = await engine.submit(holds, "a")
        await until(lambda: gate.started["a"], "it runs")

        await handle.cancel()

        with pytest.raises(ExecutionCancelled):
            await handle.result()
        assert other._worker is not None
        workshop = other._worker._workshop
        await until(lambda: workshop.is_idle, "its attempt is cancelled")
        gate.open()
        assert gate.ended["a"] == 0


@looped
async def test_an_owner_that_comes_back_finds_what_runs_elsewhere(url: str, gate: Gate) -> None:
    async with worker(url):
        async with owner(url, grace=0) as engine:
            await engine.submit(holds, "a", id="a")
            await engine.submit(holds_once, "a", id="b")
            await until(lambda: gate.started["a"] == 2, "both run")
        gate.open()
        await until(lambda: gate.ended["a"] == 2, "they end while nobody owns them")
        async with owner(url) as engine:
            assert [await engine.handle(name).result() for name in ("a", "b")] == ["a", "a"]
    assert gate.started["a"] == 2


@pytest.mark.usefixtures("impatient")
@looped
async def test_what_a_dead_worker_had_is_done_by_another(url: str, gate: Gate) -> None:
    async with owner(url) as engine:
        async with doomed(url):
            again = await engine.submit(holds, "a")
            once = await engine.submit(holds_once, "a")
            await until(lambda: gate.started["a"] == 2, "both run")
        async with worker(url):
            assert await once.result() == "unknown"
            await until(lambda: gate.started["a"] == 3, "it is made again")
            gate.open()
            assert await again.result() == "a"
        starts = bodies(again.events(), "attempt_started")
        assert [(one["try"], one.get("crashes", 0)) for one in starts] == [(1, 0), (2, 1)]


@pytest.mark.usefixtures("impatient")
@looped
async def test_a_call_that_ends_its_workers_is_parked(url: str, gate: Gate) -> None:
    async with owner(url, max_crashes=1) as engine:
        handle = await engine.submit(holds, "a")
        async with doomed(url):
            await until(lambda: gate.started["a"], "it runs")
        with pytest.raises(CrashLoop):
            await handle.result()


@looped
async def test_a_worker_that_is_stopped_leaves_what_it_could_not_end(
    url: str, gate: Gate
) -> None:
    async with owner(url, max_crashes=1) as engine:
        async with worker(url):
            again = await engine.submit(holds, "a")
            once = await engine.submit(holds_once, "a")
            await until(lambda: gate.started["a"] == 2, "both run")
        async with worker(url):
            assert await once.result() == "unknown"
            gate.open()
            assert await again.result() == "a"


@looped
async def test_a_worker_that_is_stopped_lets_end_what_runs(url: str, gate: Gate) -> None:
    async with owner(url) as engine:
        async with worker(url, grace=60):
            handle = await engine.submit(holds_once, "a")
            await until(lambda: gate.started["a"], "it runs")
            gate.open()
        assert await handle.result() == "a"


@looped
async def test_a_pause_takes_back_what_nobody_has_claimed(url: str, gate: Gate) -> None:
    async with owner(url) as engine:
        handle = await engine.submit(holds, "a")
        assert engine._owner is not None
        board = engine._owner._held.board
        assert board is not None
        await until(board.tasks, "it is offered")
        await handle.pause()
        await until(lambda: board.tasks() == [], "it is taken back")
        async with worker(url):
            await handle.unpause()
            await until(lambda: gate.started["a"], "it is offered again")
            await handle.pause()
            gate.open()
            await until(lambda: engine._reader().inbox(engine.row(handle.id).key), "it ends")
            await handle.unpause()
            assert await handle.result() == "a"
    assert gate.started["a"] == 1


@looped
async def test_lost_connections_change_nothing(
    url: str, gate: Gate, postgres: Postgres
) -> None:
    async with owner(url) as engine, worker(url):
        handle = await engine.submit(holds_once, "a")
        await until(lambda: gate.started["a"], "it runs")
        postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        gate.open()
        assert await handle.result() == "a"
        assert await (await engine.submit(squares, 3)).result() == [0, 1, 4]


@looped
async def test_an_owner_that_serves_the_queue_now_makes_what_was_offered(
    url: str, gate: Gate
) -> None:
    gate.open()
    async with owner(url) as engine:
        await engine.submit(holds, "a", id="a")
    async with owner(url, queues=["default", "gpu"]) as engine:
        assert await engine.handle("a").result() == "a"
    assert gate.started["a"] == 1


@looped
async def test_only_who_has_the_code_claims(url: str) -> None:
    async with owner(url) as engine, worker(url, workflows=[declines]):
        handle = await engine.submit(squares, 1, id="a")
        other = await engine.submit(declines)
        assert await other.result() == "declined: not 1"
        assert handle.status().state == "running"
        told = run_here("execution", "why", "a", "--db", url, "--json")
        assert "no worker that serves queue 'gpu' has the code" in told.out
        async with worker(url):
            assert await handle.result() == [0]


@looped
async def test_why_tells_where_it_waits_and_who_has_it(url: str, gate: Gate) -> None:
    async with owner(url) as engine:
        handle = await engine.submit(holds, "a", id="a")

        def why() -> str:
            return run_here("execution", "why", "a", "--db", url).out

        assert "no worker serves queue 'gpu'" in why()
        async with worker(url):
            await until(lambda: gate.started["a"], "it runs")
            await until(lambda: bodies(handle.events(), "attempt_started"), "it is noted")
            told = why()
            assert "attempt 1 began" in told
            assert "has it" in told
            gate.open()
            assert await handle.result() == "a"


def test_a_file_has_one_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(tmp_path / "runs.db", serve="activities"):
            pass

    with pytest.raises(ConfigError, match="is a file"):
        asyncio.run(main())
