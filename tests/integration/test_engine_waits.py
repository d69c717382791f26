"""Waits that end in time: timers, retries after a crash, threads that linger, the grace."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from obelisk_ops import (
    ActivityTimedOut,
    Engine,
    activity,
    join_set,
    run,
    sleep,
    workflow,
)
from tests.engines import NEVER, QUICK, bodies, kinds, read_log, until
from tests.support import PATIENCE_S, wait_until


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
        return [event.at - due[bodies([event], "timer_fired")[0]["n"]] for event in fired]

    rounds: list[list[int]] = []

    def were_all_in_time() -> bool:
        # A busy machine may stop us for a moment: each of them has to be in time once.
        rounds.append(lateness(f"{len(rounds)}"))
        assert min(rounds[-1]) >= 0, "never early"
        return all(min(late) <= 50 for late in zip(*rounds, strict=True))

    wait_until(were_all_in_time, 30, "in time")


def test_a_retry_waits_for_the_thread_of_the_attempt_before(db: Path) -> None:
    spans: list[tuple[int, str]] = []

    @activity(timeout=0.5, retry=QUICK)
    def slow() -> int:
        number = activity.attempt()
        spans.append((number, "begins"))
        if number == 1:
            time.sleep(0.8)
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

    @activity(timeout=0.5, retry=QUICK, overlap=True)
    def slow() -> int:
        number = activity.attempt()
        spans.append((number, "begins"))
        if number == 1:
            release.wait(PATIENCE_S)
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
        release.wait(PATIENCE_S)

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
        release.wait(PATIENCE_S)

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

    assert 0.8 <= asyncio.run(drive()) < PATIENCE_S  # and not for ever
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
