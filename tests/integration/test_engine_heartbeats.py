"""Heartbeats: silence is noticed, details are kept, who is given up is told."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, ExecutionFailed, activity, join_set, run, workflow
from obelisk_ops.core.ports import Beat
from obelisk_ops.errors import HeartbeatTimedOut, WorkflowMisuse
from obelisk_ops.storage import open_reader
from tests.engines import NEVER, QUICK, crash, until
from tests.support import PATIENCE_S


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def beats(db: Path, execution_id: str) -> dict[int, Beat]:
    with closing(open_reader(db)) as reader:
        row = reader.find(execution_id)
        return {} if row is None else reader.beats(row.key)


def remembered() -> list[int]:
    return activity.heartbeat_details(list[int]) or []


def test_an_attempt_that_is_silent_too_long_is_tried_again(db: Path) -> None:
    @activity(heartbeat_timeout=0.6, retry=QUICK)
    async def crawl() -> list[int]:
        pages = remembered()
        for page in range(len(pages), 3):
            pages.append(page)
            activity.heartbeat(pages)
            await asyncio.sleep(0.25)
        if activity.attempt() == 1:
            await asyncio.sleep(30)
        return [*pages, activity.attempt()]

    @workflow
    async def flow() -> list[int]:
        return await crawl()

    assert run(flow, db=db, id="f") == [0, 1, 2, 2]
    assert beats(db, "f") == {}


def test_a_thread_that_is_silent_too_long_is_told_when_it_speaks_again(db: Path) -> None:
    told: list[str] = []

    @activity(heartbeat_timeout=0.6, retry=QUICK)
    def crawl() -> list[int]:
        pages = remembered()
        for page in range(len(pages), 3):
            pages.append(page)
            activity.heartbeat(pages)
            time.sleep(0.25)
        if activity.attempt() == 1:
            time.sleep(0.9)
            try:
                activity.heartbeat()
            except asyncio.CancelledError as error:
                told.append(str(error))
        return [*pages, activity.attempt()]

    @workflow
    async def flow() -> list[int]:
        return await crawl()

    assert run(flow, db=db, id="f") == [0, 1, 2, 2]
    assert beats(db, "f") == {}
    assert len(told) == 1
    assert "gave no heartbeat for 0.6 s" in told[0]


def test_silence_in_every_attempt_is_an_error_of_its_own(db: Path) -> None:
    @activity(heartbeat_timeout=0.05, retry=NEVER)
    async def silent() -> None:
        await asyncio.sleep(30)

    @workflow
    async def flow() -> str:
        try:
            await silent()
        except HeartbeatTimedOut as error:
            return error.message
        return ""

    assert "silent gave no heartbeat for 0.05 s" in run(flow, db=db)


def test_details_survive_a_crash_and_are_shown_meanwhile(db: Path, tmp_path: Path) -> None:
    release = threading.Event()

    @activity
    def train(epochs: int) -> list[Any]:
        done = activity.heartbeat_details(dict[str, int])
        for epoch in range(epochs):
            activity.heartbeat({"epoch": epoch})
        if done is None:
            release.wait(PATIENCE_S)
        return [done, activity.attempt()]

    @workflow
    async def flow() -> list[Any]:
        return await train(1000)

    async def first() -> Path:
        async with Engine(db) as engine:
            await engine.submit(flow, id="f")
            await until(lambda: beats(db, "f"), "the heartbeat is written")
            copy = crash(db, tmp_path / "copy")
            release.set()
            assert await engine.handle("f").result() == [None, 1]
        return copy

    async def second(copy: Path) -> object:
        async with Engine(copy, workflows=[flow]) as engine:
            return await engine.handle("f").result()

    copy = asyncio.run(first())
    assert beats(db, "f") == {}
    [beat] = beats(copy, "f").values()
    assert (beat.attempt, beat.body) == (1, '{"epoch":999}')
    assert asyncio.run(second(copy)) == [{"epoch": 999}, 2]
    assert beats(copy, "f") == {}


def test_heartbeats_are_written_once_a_second_at_most(db: Path) -> None:
    seen: list[int] = []

    @activity
    async def busy() -> int:
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < 1.5:
            activity.heartbeat(count)
            count += 1
            await asyncio.sleep(0.01)
        return count

    @workflow
    async def flow() -> int:
        return await busy()

    async def drive() -> int:
        async with Engine(db) as engine:
            handle = await engine.submit(flow, id="f")

            async def watch() -> None:
                while True:
                    seen.extend(beat.at for beat in beats(db, "f").values())
                    await asyncio.sleep(0.02)

            watcher = asyncio.create_task(watch())
            result = await handle.result()
            watcher.cancel()
            return result

    assert asyncio.run(drive()) > 20
    moments = sorted(set(seen))
    assert moments
    assert all(b - a >= 990 for a, b in pairwise(moments)), moments


def test_a_thread_whose_call_was_given_up_is_told(db: Path) -> None:
    told = threading.Event()

    @activity
    def endless() -> None:
        while True:
            try:
                activity.heartbeat()
            except asyncio.CancelledError:
                told.set()
                raise
            time.sleep(0.01)

    @activity
    async def quick() -> str:
        await asyncio.sleep(0.05)
        return "done"

    @workflow
    async def flow() -> str:
        async with join_set() as calls:
            calls.submit(endless)
            calls.submit(quick)
            answer: str = await calls.next()
        return answer

    assert run(flow, db=db, id="f") == "done"
    assert told.wait(PATIENCE_S)
    assert beats(db, "f") == {}


def test_a_heartbeat_outside_an_activity_is_refused() -> None:
    with pytest.raises(WorkflowMisuse, match="while an activity runs"):
        activity.heartbeat()


def test_details_that_are_something_else_are_an_error(db: Path) -> None:
    @activity(retry=QUICK)
    async def odd() -> None:
        activity.heartbeat_details(int)
        activity.heartbeat("text")
        raise ValueError("again")

    @workflow
    async def flow() -> None:
        await odd()

    with pytest.raises(ExecutionFailed, match="details of the last heartbeat cannot be read"):
        run(flow, db=db)
