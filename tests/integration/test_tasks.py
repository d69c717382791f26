"""Attempts that another worker makes: an owner and activity workers in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops import Engine, Queue
from obelisk_ops.core import tasks
from obelisk_ops.durable import offers
from obelisk_ops.errors import (
    ConfigError,
    CrashLoop,
    ExecutionCancelled,
)
from tests.commands import run_here
from tests.engines import Gate, bodies, looped, until
from tests.postgres import Postgres
from tests.tasked import (
    ALL,
    declines,
    doomed,
    gates,
    goes_on,
    holds,
    holds_a_thread,
    holds_once,
    owner,
    squares,
    started,
    waits_too_long,
    worker,
)


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
async def test_who_has_closed_is_woken_by_nothing(url: str, gate: Gate) -> None:
    async with owner(url) as engine:
        async with worker(url) as other:
            handle = await engine.submit(holds_a_thread, "a")
            await until(lambda: gate.started["a"], "it runs")
            assert other._worker is not None
            claiming, workshop = other._worker._claiming, other._worker._workshop
        claiming.wake()  # as a rate does that lets in more by now
        gate.open()
        await until(lambda: workshop.is_idle, "its thread has ended")
        await asyncio.sleep(0)  # whoever was woken looks now
        assert claiming._said == {}
        assert claiming._next is None
        assert claiming._bell._ears is None

        async with worker(url):
            assert await handle.result() == "a"
    assert gate.started["a"] == 2


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


@looped
async def test_what_finds_no_place_is_made_by_others_who_serve_its_queue(
    url: str, gate: Gate
) -> None:
    one = [Queue("gpu", concurrency=1)]
    async with owner(url, queues=one, grace=0) as engine, worker(url, queues=one) as other:
        assert engine._owner is not None
        elsewhere = engine._owner._scheduler.workshop.elsewhere
        claiming = engine._owner._claiming
        assert claiming is not None
        claiming._is_told = True
        claiming.wake()
        await until(lambda: elsewhere.overflow == {"gpu"}, "it knows of the other")
        handles = [await engine.submit(holds, "a") for _ in range(4)]
        await until(lambda: gate.started["a"] == 2, "one runs here, and one there")
        assert other._worker is not None
        assert not other._worker._workshop.is_idle
        gate.open()
        assert [await handle.result() for handle in handles] == ["a"] * 4
    assert gate.started["a"] == 4


@looped
async def test_what_runs_elsewhere_is_adopted_with_its_execution(url: str, gate: Gate) -> None:
    async with worker(url), owner(url) as engine:
        other = Engine(url, workflows=ALL)
        await other.__aenter__()
        handles = [await other.submit(flow, "a") for flow in (holds, holds_once)]
        await until(lambda: gate.started["a"] == 2, "both run")
        await other.__aexit__(None, None, None)
        found = [engine.handle(handle.id) for handle in handles]
        gate.open()
        assert [await handle.result() for handle in found] == ["a", "a"]
    assert gate.started["a"] == 2


def test_a_file_has_one_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(tmp_path / "runs.db", serve="activities"):
            pass

    with pytest.raises(ConfigError, match="is a file"):
        asyncio.run(main())
