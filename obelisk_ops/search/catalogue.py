"""
The catalogue: an SQLite file of what was read of every backup.

It is a cache. One that is damaged, or of another form, is thrown away and read again; one
that cannot be kept is held in memory for as long as the command runs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from obelisk_ops.errors import Unproven, UsageError
from obelisk_ops.search.contents import Contents
from obelisk_ops.storage import sql

_SQL = sql.load("obelisk_ops.search", "catalogue.sql")

#: Goes up when the tables change; the file of another form is made anew.
_FORM = 1
_BUSY_MS = 30_000
_ASKING_S = 30.0
_INSTRUCTIONS_BETWEEN_LOOKS_AT_THE_CLOCK = 20_000
_MAY_DO = frozenset({
    apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    What is looked for; None means any.

    Attributes:
        state: The state of the execution.
        result: How it ended.
        function: The name of its workflow.
        since: Created then or later; UTC milliseconds.
        until: Created before.
        backup: The name of the backup; ``*`` and ``?`` stand for anything.
        error: A text in its error; upper and lower case are the same.
        input: A text in its input.
        after: Go on behind this one, ``BACKUP/ID``.
        limit: At most so many; -1 for all.
    """

    state: str | None = None
    result: str | None = None
    function: str | None = None
    since: int | None = None
    until: int | None = None
    backup: str | None = None
    error: str | None = None
    input: str | None = None
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An execution in a backup; times are UTC milliseconds."""

    backup: str
    execution_id: str
    function: str
    state: str
    result: str | None
    created_at: int | None
    finished_at: int | None
    parent_id: str | None
    error: str | None


class Catalogue:
    """What is known of the backups in one place."""

    def __init__(self, folder: Path, place: str) -> None:
        """
        Open it, or begin it anew.

        Args:
            folder: Where catalogues are kept.
            place: The bucket and prefix, in full: two of them never share a file.
        """
        self._path = folder / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.db"
        self._connection = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def marks(self) -> Mapping[str, str]:
        """Return what the listing said when each backup was read."""
        return {str(name): str(mark) for name, mark in self._connection.execute(_SQL["marks"])}

    def put(
        self, name: str, mark: str, point: tuple[int, int], contents: Contents, now_ms: int
    ) -> None:
        """Note what a backup holds at *point*, its epoch and transaction."""
        found = contents.executions
        rows = (
            (name, e.id, e.function, e.state, e.result, e.created_at, e.finished_at, e.parent,
             e.error, e.input)
            for e in found
        )  # fmt: skip
        with self._connection:
            self._connection.execute(_SQL["forget_executions"], (name,))
            self._connection.executemany(_SQL["put_execution"], rows)
            about = (name, mark, *point, contents.engine, len(found), now_ms)
            self._connection.execute(_SQL["put_backup"], about)

    def put_failure(self, name: str, mark: str, message: str, now_ms: int) -> None:
        """Note that a backup cannot be read; an empty *mark* has it tried again."""
        with self._connection:
            self._connection.execute(_SQL["put_failure"], (name, mark, message, now_ms))

    def forget(self, names: Iterable[str]) -> None:
        """Forget backups that are gone."""
        with self._connection:
            for name in names:
                self._connection.execute(_SQL["forget_executions"], (name,))
                self._connection.execute(_SQL["forget_backup"], (name,))

    def find(self, query: Query) -> list[Found]:
        """Return what fits, the newest first."""
        rows = self._connection.execute(_SQL["find"], asdict(query))
        names = Found.__slots__  # in the order of the statement
        return [Found(**dict(zip(names, row, strict=True))) for row in rows]

    def functions(self) -> set[str]:
        """Return the names of the workflows that ran."""
        return {str(name) for (name,) in self._connection.execute(_SQL["functions"])}

    def failures(self) -> list[tuple[str, str]]:
        """Return the backups that could not be read, with the reason."""
        return [
            (str(name), str(why)) for name, why in self._connection.execute(_SQL["failures"])
        ]

    def counts(self) -> tuple[int, int]:
        """Return how many backups, and how many executions, are known."""
        [(backups, executions)] = self._connection.execute(_SQL["counts"])
        return int(backups), int(executions)

    def ask(self, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """
        Answer a question in SQL, with the names of the columns and the rows.

        Raises:
            UsageError: It is none that only reads, or SQLite does not understand it.
            Unproven: It takes too long.
        """
        if not question.strip():
            raise UsageError("--sql asks nothing", hint="write a SELECT")
        deadline = time.monotonic() + _ASKING_S
        self._connection.authorizer = _only_reads
        columns = list[str]()
        self._connection.exec_trace = _only_one(columns)
        self._connection.set_progress_handler(
            lambda: time.monotonic() > deadline, _INSTRUCTIONS_BETWEEN_LOOKS_AT_THE_CLOCK
        )
        try:
            cursor = self._connection.execute(question)
            if len(set(columns)) < len(columns):
                raise UsageError("two columns have one name", hint="name them: SELECT … AS …")
            return columns, [tuple(row) for row in cursor]
        except (apsw.AuthError, apsw.ExecTraceAbort):
            raise UsageError(
                "--sql only reads: one SELECT, of executions and backups",
                hint="their columns are in 'obelisk-ops search --help'",
            ) from None
        except apsw.InterruptError:
            raise Unproven(f"the question took longer than {_ASKING_S:g} s") from None
        except (apsw.Error, TypeError, ValueError) as wrong:
            raise UsageError(
                f"SQLite does not understand it: {wrong}",
                hint="the columns of executions and backups are in 'obelisk-ops search --help'",
            ) from None
        finally:
            self._connection.set_progress_handler(None)
            self._connection.exec_trace = None
            self._connection.authorizer = None

    def _open(self) -> apsw.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _made(self._path)
        except (apsw.Error, OSError):
            for suffix in ("", "-journal"):
                with suppress(OSError):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        try:
            return _made(self._path)
        except (apsw.Error, OSError):
            return _made(None)


def _made(path: Path | None) -> apsw.Connection:
    connection = apsw.Connection(str(path) if path else ":memory:")
    try:
        connection.set_busy_timeout(_BUSY_MS)
        connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)
        # What a loss of power takes is read again.
        connection.pragma("synchronous", "off")
        _check(connection)
        with connection:
            for name in ("make_backups", "make_executions", "make_order"):
                connection.execute(_SQL[name])
            connection.pragma("user_version", _FORM)
    except BaseException:
        connection.close()
        raise
    if path:
        path.chmod(0o600)
    return connection


def _check(connection: apsw.Connection) -> None:
    """Refuse a file that is damaged or of another form, by an error that has it made anew."""
    if connection.pragma("quick_check", 1) != "ok":
        raise apsw.CorruptError("damaged")
    there = {str(row[0]) for row in connection.execute(_SQL["tables"])}
    if there and (
        connection.pragma("user_version") != _FORM or there != {"backups", "executions"}
    ):
        raise apsw.NotADBError("another form")


def _only_one(columns: list[str]) -> Callable[..., bool]:
    """
    Return what lets one statement begin, and no second one, and notes its *columns*.

    Once a statement that finds nothing was executed, SQLite no longer tells them.
    """
    begun: list[object] = []

    def may_begin(cursor: apsw.Cursor, *_about: object) -> bool:
        begun.append(None)
        if len(begun) > 1:
            return False
        columns.extend(str(column[0]) for column in cursor.get_description())
        return True

    return may_begin


def _only_reads(action: int, *_about: object) -> int:
    return apsw.SQLITE_OK if action in _MAY_DO else apsw.SQLITE_DENY


def _casefold(*texts: Any) -> Any:  # noqa: ANN401 - as SQLite calls it, with one or NULL
    [text] = texts
    return text and text.casefold()
