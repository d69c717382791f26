"""What is in a database: the executions of a workflow database, the tables of any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import apsw
import msgspec

from obelisk_ops.core import ids
from obelisk_ops.core.events import Event
from obelisk_ops.core.fold import Story, fold
from obelisk_ops.errors import CorruptDatabase, Unproven, VerificationFailed
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.others.model import Overview
from obelisk_ops.inspect.others.readers import overview_of
from obelisk_ops.replica.image import Image
from obelisk_ops.storage import sql

#: opens a database for so many seconds
Opener: TypeAlias = Callable[[float], AbstractContextManager[apsw.Connection]]

#: the schema whose logs this version can read
KNOWN_SCHEMA = "1"
_DIGITS = 19

FAILURES_MAX = 100
LIMIT_S = 60.0
_ROWS_LIMIT_S = 5.0

_OK = "ok"
_UNREAD = "skipped: read in place, without reading all of it"
_UNCHECKED = {"objects": _UNREAD, "quick_check": _UNREAD}
_WORKFLOW_TABLES = frozenset({"meta", "state", "log"})
_SQL = sql.load("obelisk_ops.inspect", "queries.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExecution:
    """An execution that ended badly or cannot go on; ``at_ms`` is its last event."""

    execution_id: str
    function: str
    error_type: str
    message: str
    at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """
    An attempt of an activity that began and whose outcome is not recorded.

    ``key`` is that of its execution, ``n`` the number of its call.
    """

    key: int
    n: int
    execution_id: str
    call_id: str
    function: str
    activity: str
    attempt: int
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; ``rows`` and ``size`` are None where counting took too long."""

    name: str
    rows: int | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """
    What is in a database.

    Attributes:
        kind: ``workflow`` for a database of this program.
        size: Bytes of the database, with what is still in its ``-wal`` file.
        schema_version: What it says of itself; None for other databases.
        epoch: The epoch it was last owned in, as it says itself.
        database_id: Drawn when it was created; a copy carries the same.
        executions: Count by state.
        results: Count of finished executions by result.
        functions: Count by function, then by state.
        failures: Newest first, FAILURES_MAX at most.
        in_flight: Attempts without an outcome.
        last_event_ms: When something was last recorded.
        tables: Of other databases.
        other: What ran in one that another engine wrote; None where none is recognised.
        checks: What was checked, with ``ok`` or why it was not.
    """

    kind: Literal["workflow", "other"]
    size: int
    schema_version: int | None = None
    epoch: int | None = None
    database_id: str | None = None
    executions: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[str, int] = field(default_factory=dict)
    functions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    failures: tuple[FailedExecution, ...] = ()
    in_flight: tuple[InFlight, ...] = ()
    last_event_ms: int | None = None
    tables: tuple[Table, ...] = ()
    other: Overview | None = None
    checks: Mapping[str, str] = field(default_factory=dict)


def summarise(path: Path, *, limit_s: float = LIMIT_S) -> Summary:
    """
    Read a database and change no byte of it.

    Raises:
        DatabaseNotFound: There is none.
        CorruptDatabase: It is damaged, or no database.
        VerificationFailed: Its tables do not hold what they should.
        Unproven: It could not be read within *limit_s*.
        StorageUnavailable: It cannot be read now.
    """
    return _summarise(partial(_open_file, path), str(path), limit_s, {"quick_check": _OK})


def summarise_in_place(image: Image, name: str, *, limit_s: float = LIMIT_S) -> Summary:
    """
    Read a backup where it is.

    What would read all of a large one is not done: the check of every page, the sizes of
    tables. Damage that such a check would find shows only where it is met.

    Raises:
        OpsError: See ``summarise`` and ``open_in_place``.
    """
    checks = {"objects": _OK, "quick_check": _OK} if image.is_proven else _UNCHECKED
    return _summarise(partial(_open_image, image, name), name, limit_s, checks)


def _open_file(path: Path, limit_s: float) -> AbstractContextManager[apsw.Connection]:
    return open_read_only(path, limit_s=limit_s)


def _open_image(
    image: Image, name: str, limit_s: float
) -> AbstractContextManager[apsw.Connection]:
    return open_in_place(image, name, limit_s=limit_s)


def _summarise(opener: Opener, name: str, limit_s: float, checks: Mapping[str, str]) -> Summary:
    reads_all = checks["quick_check"] == _OK
    with opener(limit_s) as connection, connection:
        if reads_all:
            _refuse_damage(connection, name)
        size = _size(connection)
        if is_workflow_database(connection):
            return replace(_workflow(connection, size), checks=checks)
        names = table_names(connection)
        other = overview_of(connection, names)
    tables = _tables(opener, sorted(names), with_sizes=reads_all)
    return Summary(kind="other", size=size, tables=tables, other=other, checks=checks)


def quick_check(connection: apsw.Connection) -> list[str]:
    """Return what SQLite's own check finds wrong; nothing if the database is sound."""
    found = [str(row[0]) for row in connection.execute(_SQL["quick_check"])]
    return [] if found == ["ok"] else found


def is_workflow_database(connection: apsw.Connection) -> bool:
    """Tell whether a database has the tables of this program."""
    return table_names(connection) >= _WORKFLOW_TABLES and "schema_version" in read_meta(
        connection
    )


def read_meta(connection: apsw.Connection) -> dict[str, str]:
    """Return what a workflow database says of itself."""
    return {str(key): str(value) for key, value in connection.execute(_SQL["meta"])}


def broken_logs(connection: apsw.Connection) -> list[int]:
    """Return the keys of some executions whose log has a hole, or no owner, or is missing."""
    found = [
        int(row[0])
        for name in ("broken_logs", "strange_logs")
        for row in connection.execute(_SQL[name])
    ]
    going = leftovers(connection)
    return [key for key in found if key not in going]


def leftovers(connection: apsw.Connection) -> set[int]:
    """Return the keys of executions that are pruned, and whose long logs go in parts."""
    if "leftover" not in table_names(connection):
        return set()
    return {int(row[0]) for row in connection.execute(_SQL["leftovers"])}


def table_names(connection: apsw.Connection) -> set[str]:
    """Return the tables that somebody made."""
    return {str(row[0]) for row in connection.execute(_SQL["tables"])}


def in_flight(connection: apsw.Connection) -> tuple[InFlight, ...]:
    """
    Return the attempts that began and whose outcome is not recorded.

    Raises:
        VerificationFailed: A log holds something else than this program writes.
    """
    return tuple(
        found
        for key, execution_id, function in connection.execute(_SQL["unfinished"])
        for found in flying(
            key, execution_id, function, connection.execute(_SQL["call_events"], (key,))
        )
    )


def flying(
    key: int, execution_id: str, function: str, events: Iterable[Sequence[Any]]
) -> Iterator[InFlight]:
    """
    Yield the attempts of one execution that began and whose outcome is not recorded.

    Args:
        key: That of the execution.
        execution_id: Its id.
        function: Its workflow.
        events: Version, time, kind and body of those that begin or end an attempt.

    Raises:
        VerificationFailed: The log holds something else than this program writes.
    """
    for call in _story(key, events).calls.values():
        if call.is_in_flight:
            yield InFlight(
                key=key, n=call.n,
                execution_id=execution_id, call_id=ids.derived(execution_id, call.n),
                function=function, activity=call.function or "", attempt=call.attempts,
                since_ms=call.started_at or 0,
            )  # fmt: skip


def _story(key: int, events: Iterable[Sequence[Any]]) -> Story:
    try:
        return fold(Event(*row) for row in events)
    except (msgspec.DecodeError, KeyError, TypeError) as wrong:
        raise VerificationFailed(
            f"the log of execution {key} cannot be read: {wrong}"
        ) from None


def _workflow(connection: apsw.Connection, size: int) -> Summary:
    meta = read_meta(connection)
    told = told_by(meta, size)
    if meta["schema_version"] != KNOWN_SCHEMA:
        return told  # written by a later version of this program, which can read it
    return replace(
        with_counts(told, [tuple(row) for row in connection.execute(_SQL["executions"])]),
        failures=_failures(connection),
        in_flight=in_flight(connection),
        last_event_ms=next(iter(connection.execute(_SQL["last_event"])), (None,))[0],
    )


def told_by(meta: Mapping[str, str], size: int) -> Summary:
    """Return what a workflow database says of itself."""
    return Summary(
        kind="workflow",
        size=size,
        schema_version=_number(meta["schema_version"]),
        epoch=_number(meta.get("epoch", "")),
        database_id=meta.get("database_id"),
    )


def with_counts(told: Summary, counts: Sequence[tuple[Any, ...]]) -> Summary:
    """Add how many executions there are, by function, state and result."""
    return replace(
        told,
        executions=_sum((state, count) for _, state, _, count in counts),
        results=_sum((result, count) for *_, result, count in counts if result is not None),
        functions=_by_function(counts),
    )


def _number(text: str) -> int | None:
    # A database may hold anything; Python refuses to read very long numbers.
    return int(text) if text.isdecimal() and len(text) < _DIGITS else None


def _by_function(counts: Iterable[tuple[Any, ...]]) -> dict[str, dict[str, int]]:
    grouped: dict[str, list[tuple[str, int]]] = {}
    for function, state, _, count in counts:
        grouped.setdefault(function, []).append((state, count))
    return {function: _sum(states) for function, states in grouped.items()}


def _sum(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for name, count in counts:
        total[name] = total.get(name, 0) + count
    return total


def _failures(connection: apsw.Connection) -> tuple[FailedExecution, ...]:
    rows = connection.execute(_SQL["failures"], (FAILURES_MAX,))
    return tuple(failure(*row) for row in rows)


class _ErrorBody(msgspec.Struct):
    type: str
    message: str = ""


class _EndBody(msgspec.Struct):
    error: _ErrorBody | None = None


def failure(
    execution_id: str, function: str, said: str | None, last: str | None, at_ms: int | None
) -> FailedExecution:
    """Return one that ended badly: what its row says, and its last event does."""
    error = _recorded_error(last) or _ErrorBody(type="", message=said or "")
    return FailedExecution(
        execution_id=execution_id, function=function, error_type=error.type,
        message=error.message, at_ms=at_ms,
    )  # fmt: skip


def _recorded_error(body: str | None) -> _ErrorBody | None:
    try:
        return msgspec.json.decode(body or "{}", type=_EndBody).error
    except msgspec.DecodeError:
        return None


def _tables(opener: Opener, names: list[str], *, with_sizes: bool) -> tuple[Table, ...]:
    found = _patiently(opener, _SQL["table_bytes"], _ROWS_LIMIT_S) if with_sizes else []
    sizes = {str(row[0]): int(row[1]) for row in found}
    ends_at = time.monotonic() + _ROWS_LIMIT_S * (len(names) if with_sizes else 1)
    return tuple(
        Table(name=name, rows=_count(opener, name, ends_at), size=sizes.get(name))
        for name in names
    )


def _count(opener: Opener, table: str, ends_at: float) -> int | None:
    quoted = '"' + table.replace('"', '""') + '"'
    limit_s = min(ends_at - time.monotonic(), _ROWS_LIMIT_S)
    rows = _patiently(opener, _SQL["table_rows"].replace("{table}", quoted), limit_s)
    return int(rows[0][0]) if rows else None


def _patiently(opener: Opener, statement: str, limit_s: float) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; none if they take too long."""
    try:
        with opener(limit_s) as connection:
            return [tuple(row) for row in connection.execute(statement)]
    except Unproven:
        return []


def _size(connection: apsw.Connection) -> int:
    return int(connection.pragma("page_count")) * int(connection.pragma("page_size"))


def _refuse_damage(connection: apsw.Connection, name: str) -> None:
    damage = quick_check(connection)
    if damage:
        raise CorruptDatabase(
            f"{name} is damaged: {damage[0]}",
            hint="restore it from its backup: obelisk-ops restore NAME --to NEW-PATH",
        )
