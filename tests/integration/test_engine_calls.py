"""Many calls at once: join sets, children, retries, timeouts, threads."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    ActivityTimedOut,
    Engine,
    ExecutionFailed,
    activity,
    execution_id,
    join_set,
    run,
    sleep,
    workflow,
)
from obelisk_ops.core.events import Event
from tests.engines import NEVER, QUICK, Gate, bodies, read_log, until


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_members_run_at_once_and_answer_as_they_end(db: Path) -> None:
    ended: list[int] = []

    @activity
    async def wait(place: int) -> int:
        await until(lambda: len(ended) == place, "those before it have ended")
        ended.append(place)
        return place

    @workflow
    async def race() -> list[int]:
        async with join_set("race") as runners:
            for place in (2, 0, 1):
                runners.submit(wait, place)
            return [place async for place in runners]

    assert run(race, db=db) == [0, 1, 2]


def test_leaving_a_set_cancels_what_runs(db: Path) -> None:
    gate = Gate()
    cancelled: list[str] = []

    @activity
    async def endless(name: str) -> None:
        gate.started[name] += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    @workflow
    async def flow() -> str:
        async with join_set() as calls:
            calls.submit(endless, "a")
            calls.submit_delay(60)
            calls.submit(endless, "b")
            await sleep(0.05)
        return "left"

    assert run(flow, db=db, id="f") == "left"
    assert sorted(cancelled) == ["a", "b"]
    assert [body["n"] for body in bodies(read_log(db, "f"), "cancelled")] == [3, 2, 1]


@activity(retry=NEVER)
async def refuse(text: str) -> None:
    raise LookupError(text)


@workflow
async def grandchild(n: int) -> str:
    if n == 2:
        await refuse("two")
    await sleep(0.01 * n)
    return execution_id()


@workflow
async def child(n: int) -> list[str]:
    async with join_set("inner") as inner:
        for m in range(n):
            inner.submit(grandchild, m)
        return [name async for name in inner]


@workflow
async def parent(most: int) -> list[list[str]]:
    async with join_set("outer") as outer:
        for n in range(most):
            outer.submit(child, n)
        return [names async for names in outer]


def test_families_have_names_that_tell_where_they_come_from(db: Path) -> None:
    names = run(parent, 3, db=db, id="p")

    assert names == [[], ["p/2/1"], ["p/3/1", "p/3/2"]]


def test_an_error_climbs_up_the_family(db: Path) -> None:
    with pytest.raises(ExecutionFailed, match="LookupError: two") as caught:
        run(parent, 4, db=db, id="p")

    assert isinstance(caught.value.__cause__, LookupError)
    assert read_log(db, "p/4/3")[-1].kind == "finished"


@pytest.mark.behaviour("O33")
def test_a_failing_activity_is_tried_again_and_then_told(db: Path) -> None:
    attempts: list[tuple[int, str]] = []

    @activity(retry=QUICK)
    def flaky(until_attempt: int) -> int:
        attempts.append((activity.attempt(), activity.idempotency_key()))
        if activity.attempt() < until_attempt:
            raise ConnectionError("gone")
        return activity.attempt()

    @workflow
    async def flow(until_attempt: int) -> int:
        return await flaky(until_attempt)

    assert run(flow, 3, db=db, id="good") == 3
    with pytest.raises(ExecutionFailed, match="ConnectionError: gone") as caught:
        run(flow, 4, db=db, id="bad")

    assert caught.value.error_type == "ConnectionError"
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert [n for n, _ in attempts] == [1, 2, 3, 1, 2, 3]
    assert {key for _, key in attempts} == {"good/1", "bad/1"}
    log = read_log(db, "bad")
    waits = [body["retry_at"] - at_of(log, body) for body in bodies(log, "attempt_failed")]
    assert waits == [10, 20]


def at_of(log: list[Event], wanted: dict[str, Any]) -> int:
    [event] = [e for e in log if [wanted] == bodies([e], "attempt_failed")]
    return event.at


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.behaviour("P24")
def test_a_timeout_ends_an_attempt_and_its_late_result_is_dropped(db: Path, kind: str) -> None:
    gate = Gate()

    async def on_the_loop(name: str) -> str:
        gate.started[name] += 1
        if activity.attempt() == 1:
            await asyncio.sleep(0.8)
        return f"attempt {activity.attempt()}"

    def in_a_thread(name: str) -> str:
        gate.started[name] += 1
        if activity.attempt() == 1:
            time.sleep(0.8)
        return f"attempt {activity.attempt()}"

    slow: Any = activity(retry=QUICK, timeout=timedelta(milliseconds=500))(
        on_the_loop if kind == "async def" else in_a_thread
    )

    @workflow
    async def flow() -> str:
        answer: str = await slow("x")
        await sleep(0.1)
        return answer

    assert run(flow, db=db, id="f") == "attempt 2"
    log = read_log(db, "f")
    assert len(bodies(log, "returned")) == 1
    [failed] = bodies(log, "attempt_failed")
    assert failed["error"]["type"].endswith("ActivityTimedOut")
    assert "took longer than 0.5 s" in failed["error"]["message"]


def test_a_timeout_without_a_further_attempt_is_told(db: Path) -> None:
    @activity(retry=NEVER, timeout=timedelta(milliseconds=30))
    async def slow() -> None:
        await asyncio.sleep(5)

    @workflow
    async def flow() -> str:
        try:
            await slow()
        except ActivityTimedOut as error:
            return error.message
        return ""

    assert "took longer than 0.03 s" in run(flow, db=db)


def test_more_threads_than_there_are_wait_for_their_turn(db: Path) -> None:
    running: list[int] = []
    most: list[int] = []

    @activity
    def work(n: int) -> int:
        running.append(n)
        most.append(len(running))
        time.sleep(0.02)
        running.remove(n)
        return n

    @workflow
    async def flow() -> list[int]:
        async with join_set() as calls:
            for n in range(8):
                calls.submit(work, n)
            return sorted([n async for n in calls])

    async def main() -> list[int]:
        async with Engine(db, threads=2) as engine:
            return await (await engine.submit(flow)).result()

    assert asyncio.run(main()) == list(range(8))
    assert max(most) == 2
