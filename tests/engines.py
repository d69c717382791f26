"""Workflows and activities for tests of the engine, and how to look at what they did."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from datetime import timedelta
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from obelisk_ops import Retry
from obelisk_ops.core import ids
from obelisk_ops.core.causes import unfounded, unhappened
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import ExecutionFilter, LogStore, State, StateRow
from obelisk_ops.core.rebuild import differences
from obelisk_ops.storage import Address, open_reader
from tests.support import PATIENCE_S

P = ParamSpec("P")
T = TypeVar("T")

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
        self._open.wait(PATIENCE_S)
        self.ended[name] += 1
        return name


def looped(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an ``async def`` test in a loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def soon(main: Coroutine[Any, Any, T]) -> T:
    """Run what must not hang."""

    async def limited() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await main

    return asyncio.run(limited())


async def until(probe: Any, what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait on the loop for *probe* to return something true."""
    async with asyncio.timeout(timeout_s):
        while not (seen := probe()):  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.005)
    return seen


def kinds(log: Iterable[Event]) -> list[str]:
    return [event.kind for event in log]


def bodies(log: Iterable[Event], kind: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event.body) for event in log if event.kind == kind]


def read_log(database: Address, execution_id: str) -> list[Event]:
    with closing(open_reader(database)) as reader:
        row = reader.find(execution_id)
        assert row is not None, execution_id
        return reader.log(row.key)


def the_tables_fit_the_logs(store: LogStore) -> None:
    """Rebuild states, inboxes and timers from the logs alone, and compare."""
    for row in store.executions(ExecutionFilter(limit=1_000_000)):
        log, inbox, timers = store.log(row.key), store.inbox(row.key), store.timers(row.key)
        found = differences(row, log, inbox, timers)
        found += unfounded(log)
        found += unhappened(row, log, inbox, partial(last_of_chain, store))
        assert found == [], f"{row.id}: {found}\n{kinds(log)}"
        no_child_is_forgotten(store, row)


def last_of_chain(store: LogStore, execution_id: str) -> Event | None:
    """Return the last event of the last execution that went on in place of another."""
    row = store.find(ids.latest(execution_id, store.find, store.newest_link))
    return store.log(row.key)[-1] if row else None


def no_child_is_forgotten(store: LogStore, row: StateRow) -> None:
    """Each child is there, and one that has ended has told its parent, who still waits."""
    if row.state is State.FINISHED:
        return
    told = {item.ref: item.body for item in store.inbox(row.key).values()}
    for body in bodies(store.log(row.key), "child_created"):
        child = store.find(body["id"])
        while child is not None and (successor := store.find(ids.successor(child.id))):
            child = successor
        assert child is not None, body["id"]
        if child.state is State.FINISHED:
            assert told.get(body["n"]) == store.log(child.key)[-1].body, child.id


def in_memory() -> str | None:
    """Return a folder where syncs cost nothing, if the system has one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


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
