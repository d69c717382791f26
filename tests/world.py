"""
One machine as a test wants it: a disk, a clock that waits for nobody, crashes to order.

Time passes only when nothing else is left to do, and then at once up to the next thing
that was to happen: a workflow sleeps for a day in no time, and always for exactly a day.
Activities of such tests are ``async def``; a thread would be overtaken by the clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from obelisk_ops import Engine
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import ConfigError, DatabaseNotFound
from obelisk_ops.storage import open_reader, open_store
from tests.databases import Database, Databases, Files
from tests.engines import the_tables_fit_the_logs

T = TypeVar("T")

#: when every world begins; 2026-11-22T10:00:00Z
BEGINNING_MS = 1_795_341_600_000
_PATIENCE_S = 30 * 3600  # of the clock of a test; a minute of ours


class World:
    """A folder, a database, and the time. Pass it as the clock of an engine."""

    def __init__(
        self, folder: Path, databases: Databases | None = None, *, keep_loaded: int = 1000
    ) -> None:
        self.folder = folder
        self.databases: Databases = databases or Files()
        self.keep_loaded = keep_loaded
        self.db: Any = self.databases.fresh(folder)
        self.passed_s = 0.0
        self.set_by_ms = 0
        self._crashes = 0

    # -- Clock

    def now_ms(self) -> int:
        return BEGINNING_MS + self.set_by_ms + round(self.passed_s * 1000)

    def elapsed_ms(self) -> int:
        return round(self.passed_s * 1000)

    def set_clock(self, by_s: float) -> None:
        """Set the clock of the wall, as a person or NTP does; no time passes."""
        self.set_by_ms += round(by_s * 1000)

    # -- engines

    def engine(
        self, *flows: Workflow[..., Any], db: Database | None = None, **how: Any
    ) -> Engine:
        """Return an engine that serves *flows*, and lets nothing end when it is left."""
        options: dict[str, Any] = {"workflows": flows, "clock": self, "grace": 0}
        options |= {"keep_loaded": self.keep_loaded} | how
        return Engine(db or self.db, **options)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run to the end; what would wait for ever fails."""

        async def limited() -> T:
            async with asyncio.timeout(_PATIENCE_S):
                return await main

        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(limited())

    def finish(
        self, db: Database, *flows: Workflow[..., Any], name: str = "f", **how: Any
    ) -> Any:
        """Return what an execution ends with, on another engine."""

        async def main() -> Any:
            async with self.engine(*flows, db=db, **how) as engine:
                return await engine.handle(name).result()

        return self.run(main())

    # -- disks

    def another(self, name: str) -> Database:
        """Return a database in which there is nothing yet."""
        return self.databases.fresh(self.folder / name)

    def crash(self, db: Database | None = None) -> Database:
        """Return the database as the death of its owner would leave it now."""
        return self.databases.crash(db or self.db, self._next_folder())

    def every_crash(
        self, db: Database | None = None, *, such: Callable[[Database], bool] = bool
    ) -> Iterator[Database]:
        """Yield the database as a kill would have left it, at each *such* moment so far."""
        yield from self.databases.every_crash(db or self.db, self._next_folder(), such)

    def _next_folder(self) -> Path:
        self._crashes += 1
        return self.folder / f"crash-{self._crashes}"


def story(db: Database, *, without: tuple[str, ...] = ("attempt_started",)) -> dict[str, Any]:
    """Return all logs by execution, without instants and without what a crash adds."""
    with closing(open_reader(db)) as reader:
        rows = reader.executions(ExecutionFilter(limit=100_000))
        logs = {row.id: reader.log(row.key) for row in rows}
    return {
        name: [_timeless(event) for event in log if event.kind not in without]
        for name, log in sorted(logs.items())
    }


def unordered(logs: dict[str, Any]) -> dict[str, list[str]]:
    """Return stories for a comparison that leaves the order of answers open."""
    return {name: sorted(map(repr, log)) for name, log in logs.items()}


def knows(db: Database, name: str) -> bool:
    """Return whether a database has this execution; none before its first commit."""
    try:
        with closing(open_reader(db)) as reader:
            return reader.find(name) is not None
    except (ConfigError, DatabaseNotFound):
        return False


def check_tables(db: Database) -> None:
    """The states, inboxes and timers on disk are those that the logs tell of."""
    with closing(open_store(db)) as store:
        the_tables_fit_the_logs(store)


def _timeless(event: Event) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = msgspec.json.decode(event.body)
    for moment in ("until", "retry_at", "start_at", "try", "seq"):
        body.pop(moment, None)
    return event.kind, body


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes when there is nothing else to do."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__(_Selector(world))

    def time(self) -> float:
        return self._world.passed_s


class _Selector(selectors.DefaultSelector):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None:
            self._world.passed_s += timeout
        return ready
