"""
Where a test's executions are kept: files, or schemas of a PostgreSQL server.

Whatever asks for the fixture ``databases`` runs on both, and names neither. In the default
run each such test is run on a server once, with the first of its parameters: all of it if
it is marked ``whole_on_a_server``, and not at all if it is ``slow_on_a_server``. The rest
is for ``make test-chaos``.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest
from psycopg import sql

from obelisk_ops.storage import Place
from obelisk_ops.storage.postgres import place
from tests.engines import in_memory
from tests.postgres import Postgres, with_option
from tests.schemas import Schema

Database: TypeAlias = Path | Place

FILES, SERVER = "sqlite", "postgres"

_LOG_HEADER, _FRAME_HEADER = 32, 24


class Databases(Protocol):
    """One kind of databases."""

    def fresh(self, folder: Path, name: str = "runs.db") -> Database:
        """Return one in which there is nothing, or that is not there yet."""
        ...

    def lent(self) -> AbstractContextManager[Database]:
        """Lend one for a moment, in which there is nothing."""
        ...

    def crash(self, db: Any, folder: Path) -> Database:
        """Return a copy as the death of its owner would leave it now."""
        ...

    def every_crash(
        self, db: Any, folder: Path, such: Callable[[Database], bool] = bool
    ) -> Iterator[Database]:
        """Yield a copy for each *such* moment at which its owner could have died so far."""
        ...

    def contents(self, db: Any) -> dict[str, str]:
        """Return all there is, for a comparison."""
        ...

    def change(self, db: Any, statement: str) -> None:
        """Run a statement that no engine would."""
        ...


class Files:
    """SQLite: each is a file, and what lies beside it."""

    def fresh(self, folder: Path, name: str = "runs.db") -> Path:
        folder.mkdir(exist_ok=True)
        return folder / name

    @contextmanager
    def lent(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            yield Path(folder) / "runs.db"

    def crash(self, db: Path, folder: Path) -> Path:
        """Commits are made on the loop's thread: while a test runs there, none is half done."""
        folder.mkdir(exist_ok=True)
        for suffix in ("", "-wal"):
            part = db.with_name(db.name + suffix)
            if part.exists():
                shutil.copy(part, folder / part.name)
        return folder / db.name

    def every_crash(
        self, db: Path, folder: Path, such: Callable[[Database], bool] = bool
    ) -> Iterator[Path]:
        """After every commit, and in the middle of writing every commit."""
        whole = self.crash(db, folder)
        log = whole.with_name(whole.name + "-wal")
        written = log.read_bytes()
        for number, end in enumerate(_cuts(written)):
            cut = folder.with_name(f"{folder.name}-{number}")
            cut.mkdir()
            (cut / log.name).write_bytes(written[:end])
            if such(crashed := Path(shutil.copy(whole, cut / whole.name))):
                yield crashed

    def contents(self, db: Path) -> dict[str, str]:
        """All files; but not SQLite's index, which is memory that is shared."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in db.parent.iterdir()
            if not path.name.endswith("-shm")
        }

    def change(self, db: Path, statement: str) -> None:
        with closing(sqlite3.connect(db)) as connection:
            connection.execute(statement)
            connection.commit()


class Schemas:
    """PostgreSQL: each is a schema, lent by the server of the run until the test is over."""

    def __init__(self, server: Postgres, stack: ExitStack) -> None:
        self._server, self._stack = server, stack

    def fresh(self, folder: Path, name: str = "runs.db") -> Place:
        return self._lend().place

    @contextmanager
    def lent(self) -> Iterator[Place]:
        with self._server.lent() as url:
            yield place.read(url)

    def crash(self, db: Place, folder: Path) -> Place:
        copy = self._lend()
        copy.fill_from(self._server.schema(db))
        return copy.place

    def every_crash(
        self, db: Place, folder: Path, such: Callable[[Database], bool] = bool
    ) -> Iterator[Place]:
        """After every commit: there is no middle of one."""
        source, model = self._server.schema(db), self._lend()
        for _ in model.follow(source):
            if such(model.place):
                yield self.crash(model.place, folder)

    def contents(self, db: Place) -> dict[str, str]:
        return self._server.schema(db).contents()

    def change(self, db: Place, statement: str) -> None:
        self._server.schema(db).run(sql.SQL(statement))

    def _lend(self) -> Schema:
        return self._stack.enter_context(self._server.watched())


def is_to_be_multiplied(test: pytest.Item) -> bool:
    """Tell whether a test is run on each kind: unless it names one itself."""
    return all("databases" not in mark.args[0] for mark in test.iter_markers("parametrize"))


def left_for_chaos(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield what the default run has no time for on a server; see the module."""
    begun = set()
    for item in items:
        if not isinstance(item, pytest.Function) or not _is_on_a_server(item):
            continue
        test = item.path, item.originalname
        is_rest = test in begun and item.get_closest_marker("whole_on_a_server") is None
        if is_rest or item.get_closest_marker("slow_on_a_server") is not None:
            yield item
        begun.add(test)


def _is_on_a_server(item: pytest.Function) -> bool:
    return hasattr(item, "callspec") and item.callspec.params.get("databases") == SERVER


def as_typed(db: Database) -> str:
    """Return what a person gives a command: a path, or a URL."""
    return with_option(db.url, f"schema={db.schema}") if isinstance(db, Place) else str(db)


def _cuts(log: bytes) -> Iterator[int]:
    """Where each commit ends in a write-ahead log, and where its last page begins."""
    page_size = int.from_bytes(log[8:12], "big")
    for start in range(_LOG_HEADER, len(log), _FRAME_HEADER + page_size):
        is_commit = any(log[start + 4 : start + 8])
        if is_commit:
            yield start
            yield start + _FRAME_HEADER + page_size
