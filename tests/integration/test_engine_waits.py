"""Waits that end in time: timers, retries after a crash, threads that linger, the grace."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from obelisk_ops import (
    ActivityTimedOut,
    Engine,
    Retry,
    activity,
    join_set,
    run,
    sleep,
    workflow,
)
from tests.engines import NEVER, QUICK, bodies, crash, kinds, read_log, until


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_timers_fire_within_50_ms_of_their_time(db: Path) -> None:
    @workflow
    async def flow() -> None:
        async with join_set() as timers:
            for n in range(20):
                timers.submit_delay(0.05 + 0.025 * n)
            async for _ in timers:
                pass

    def lateness(execution_id: str) -> list[int]:
        run(flow, db=db, id=execution_id)
        log = read_log(db, execution_id)
        due = {body["n"]: body["until"] for body in bodies(log, "timer_set")}
        fired = [event for event in log if event.kind == "timer_fired"]
        return sorted(event.at - due[bodies([event], "timer_fired")[0]["n"]] for event in fired)

    # A busy machine may stop us for a moment: of some rounds the best one counts.
    rounds = [lateness(f"{n}") for n in range(3)]
    assert all(late[0] >= 0 for late in rounds), "never early"
    assert min(late[-1] for late in rounds) <= 50, rounds


def test_after_a_crash_the_rest_of_a_wait_is_waited_and_not_all_of_it(
    db: Path, tmp_path: Path
) -> None:
    @activity(retry=Retry(initial=timedelta(seconds=2), jitter=0, max_attempts=3))
    async def flaky() -> int:
        if activity.attempt() == 1:
            raise ConnectionError("gone")
        return activity.attempt()

    @workflow
    async def flow() -> int:
        return await flaky()

    async def first() -> Path:
        async with Engine(db) as engine:
            handle = await engine.submit(flow, id="f")
            await until(lambda: "attempt_failed" in kinds(handle.events()), "a failure")
            await asyncio.sleep(1)
            return crash(db, tmp_path / "copy")

    async def second(copy: Path) -> int:
        async with Engine(copy, workflows=[flow]) as engine:
            return int(await engine.handle("f").result())

    copy = asyncio.run(first())
    assert asyncio.run(second(copy)) == 2

    log = read_log(copy, "f")
    [failed] = bodies(log, "attempt_failed")
    [again] = [event for event in log if event.kind == "attempt_started"]
    [failure] = [event for event in log if event.kind == "attempt_failed"]
    assert failed["retry_at"] - failure.at == 2000
    assert 0 <= again.at - failed["retry_at"] <= 500


def test_a_retry_waits_for_the_thread_of_the_attempt_before(db: Path) -> None:
    spans: list[tuple[int, str]] = []

    @activity(timeout=0.1, retry=QUICK)
    def slow() -> int:
        number = activity.attempt()
        spans.append((number, "begins"))
        if number == 1:
            time.sleep(0.5)
        spans.append((number, "ends"))
        return number

    @workflow
    async def flow() -> int:
        return await slow()

    assert run(flow, db=db) == 2
    assert spans == [(1, "begins"), (1, "ends"), (2, "begins"), (2, "ends")]


def test_with_overlap_it_does_not_wait(db: Path) -> None:
    spans: list[tuple[int, str]] = []
    release = threading.Event()

    @activity(timeout=0.1, retry=QUICK, overlap=True)
    def slow() -> int:
        number = activity.attempt()
        spans.append((number, "begins"))
        if number == 1:
            release.wait(10)
        spans.append((number, "ends"))
        return number

    @workflow
    async def flow() -> int:
        return await slow()

    assert run(flow, db=db) == 2
    assert spans == [(1, "begins"), (2, "begins"), (2, "ends")]
    release.set()


def test_a_lingering_thread_keeps_its_place(db: Path) -> None:
    release = threading.Event()

    @activity(timeout=0.1, retry=NEVER)
    def hangs() -> None:
        release.wait(10)

    @activity
    def quick() -> str:
        return "done"

    @workflow
    async def flow() -> str:
        try:
            await hangs()
        except ActivityTimedOut:
            return await quick()
        return ""

    async def drive() -> str:
        async with Engine(db, threads=1) as engine:
            handle = await engine.submit(flow, id="f")
            await until(lambda: len(handle.events()) > 3, "the second call")
            await asyncio.sleep(0.05)
            assert kinds(handle.events())[-2:] == ["returned", "intended"]
            release.set()
            return await handle.result()

    assert asyncio.run(drive()) == "done"


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_draining_ends_within_the_grace(db: Path, kind: str) -> None:
    release = threading.Event()
    started = threading.Event()

    @activity
    def stubborn() -> None:
        started.set()
        release.wait(20)

    @activity
    async def stubborn_on_loop() -> None:
        started.set()
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)

    function = stubborn if kind == "def" else stubborn_on_loop

    @workflow
    async def flow() -> None:
        await function()

    async def drive() -> float:
        engine = Engine(db, grace=1.0)
        async with engine:
            await engine.submit(flow, id="f")
            await until(started.is_set, "it runs")
            began = time.monotonic()
        took = time.monotonic() - began
        release.set()
        await asyncio.sleep(0.05)
        return took

    assert 0.8 <= asyncio.run(drive()) < 20  # and not for ever
    assert kinds(read_log(db, "f")) == ["created", "intended"]


def test_at_most_once_is_not_run_again_when_its_time_is_up(db: Path) -> None:
    runs: list[int] = []

    @activity(at_most_once=True, timeout=0.1, retry=QUICK)
    async def send() -> None:
        runs.append(activity.attempt())
        await asyncio.sleep(30)

    @workflow
    async def flow() -> str:
        try:
            await send()
        except Exception as error:  # noqa: BLE001 - to see which
            return type(error).__name__
        return ""

    assert run(flow, db=db) == "OutcomeUnknown"
    assert runs == [1]


def test_at_most_once_with_a_policy_repeats_what_was_reported_as_failed(db: Path) -> None:
    @activity(at_most_once=True, retry=QUICK)
    async def send() -> int:
        if activity.attempt() == 1:
            raise ConnectionRefusedError("nothing was sent")
        return activity.attempt()

    @workflow
    async def flow() -> int:
        await sleep(0)
        return await send()

    assert run(flow, db=db) == 2
