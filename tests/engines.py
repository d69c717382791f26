"""Workflows and activities for tests of the engine, and how to look at what they did."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from obelisk_ops import Retry
from obelisk_ops.core.events import Event
from obelisk_ops.core.fold import CallStory, fold
from obelisk_ops.core.ports import ExecutionFilter, InboxItem, LogReader, State
from obelisk_ops.storage import open_reader

NEVER = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, initial=timedelta(milliseconds=10), jitter=0)


class Gate:
    """Activities that say when they start, and end when the test says so."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self, name: str) -> str:
        self.started[name] += 1
        while not self._open.is_set():  # noqa: ASYNC110 - opened from any thread
            await asyncio.sleep(0.005)
        self.ended[name] += 1
        return name

    def pass_thread(self, name: str) -> str:
        self.started[name] += 1
        self._open.wait(10)
        self.ended[name] += 1
        return name


async def until(probe: Any, what: str, timeout_s: float = 10) -> Any:
    """Wait on the loop for *probe* to return something true."""
    async with asyncio.timeout(timeout_s):
        while not (seen := probe()):  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.005)
    return seen


def kinds(log: Iterable[Event]) -> list[str]:
    return [event.kind for event in log]


def bodies(log: Iterable[Event], kind: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event.body) for event in log if event.kind == kind]


def read_log(database: Path, execution_id: str) -> list[Event]:
    with closing(open_reader(database)) as reader:
        row = reader.find(execution_id)
        assert row is not None, execution_id
        return reader.log(row.key)


def the_tables_fit_the_logs(reader: LogReader, timers: Any) -> None:
    """Rebuild states and timers from the logs alone, and compare."""
    for row in reader.executions(ExecutionFilter(limit=1_000_000)):
        log = reader.log(row.key)
        assert [event.version for event in log] == list(range(len(log)))
        assert row.state in expected_states(log), row
        assert timers(row.key) == expected_timers(log), row
        the_inbox_fits_the_log(reader.inbox(row.key), log)


def the_inbox_fits_the_log(inbox: Mapping[int, InboxItem], log: list[Event]) -> None:
    """What was told has arrived; only what nobody asked for was not told, or not yet."""
    told = [body["seq"] for e in log if "seq" in (body := msgspec.json.decode(e.body))]
    assert list(inbox) == list(range(1, len(inbox) + 1))
    assert len(told) == len(set(told))
    assert set(told) <= set(inbox)
    if not is_paused(log):
        left = {inbox[seq].kind for seq in set(inbox) - set(told)}
        assert left <= {"signal", "result", "stub"}, left


def open_calls(log: list[Event]) -> list[CallStory]:
    story = fold(log)
    if story.has_ended:
        return []
    return [call for call in story.calls.values() if call.outcome is None]


def expected_timers(log: list[Event]) -> dict[int, int]:
    created = msgspec.json.decode(log[0].body)
    timers = {call.n: call.due for call in open_calls(log) if call.due}
    if log[-1].kind != "finished" and created.get("timeout") and not is_late(log):
        timers[0] = log[0].at + created["timeout"]
    return timers


def is_late(log: list[Event]) -> bool:
    return any(body.get("reason") for body in bodies(log, "cancel_requested"))


def is_paused(log: list[Event]) -> bool:
    paused: bool = msgspec.json.decode(log[0].body).get("paused", False)
    for event in log:
        paused = event.kind == "paused" or (paused and event.kind != "unpaused")
    return paused


def expected_states(log: list[Event]) -> set[State]:
    """Return the states that fit; one that is to be driven may be pending."""
    if log[-1].kind in ("finished", "parked"):
        return {State(log[-1].kind)}
    if is_paused(log):
        return {State.PAUSED}
    if "cancel_requested" in kinds(log):
        return {State.CANCELLING}
    if len(log) == 1:
        return {State.PENDING, State.BLOCKED}
    is_running = any(call.kind == "activity" for call in open_calls(log))
    return {State.RUNNING} if is_running else {State.BLOCKED}


def crash(database: Path, to: Path) -> Path:
    """
    Return a copy of a database as it would be if its owner were killed now.

    Commits are made on the loop's thread: while a test runs there, none is half done.
    """
    to.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        part = database.with_name(database.name + suffix)
        if part.exists():
            shutil.copy(part, to / part.name)
    return to / database.name
