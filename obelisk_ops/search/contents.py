"""What a backup holds, as the catalogue keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from obelisk_ops.core.ports import ExecutionFilter, State
from obelisk_ops.core.rows import ALL
from obelisk_ops.errors import VerificationFailed
from obelisk_ops.inspect.others.readers import recognise
from obelisk_ops.inspect.summary import (
    KNOWN_SCHEMA,
    is_workflow_database,
    read_meta,
    table_names,
)
from obelisk_ops.storage import open_reader, sql
from obelisk_ops.storage.unbegun import WholeReader

#: So much of an error and of an input can be searched.
TEXT_MAX = 10_000

_SQL = sql.load("obelisk_ops.search", "contents.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of a backup; ``input`` is JSON, times are UTC milliseconds."""

    id: str
    function: str
    state: str
    result: str | None = None
    created_at: int | None = None
    finished_at: int | None = None
    parent: str | None = None
    error: str | None = None
    input: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Which engine wrote a database, or None where none is known, and its executions."""

    engine: str | None
    executions: tuple[Execution, ...] = ()


def read_contents(connection: apsw.Connection) -> Contents:
    """
    Read every execution of a database.

    Raises:
        VerificationFailed: It was written by a later version of this program.
        OpsError: See ``open_in_place``.
    """
    if is_workflow_database(connection):
        return Contents(
            engine="obelisk-ops", executions=(*_ours(connection), *_unbegun(connection))
        )
    reader = recognise(table_names(connection))
    if reader is None:
        return Contents(engine=None)
    return Contents(
        engine=reader.engine,
        executions=tuple(
            Execution(
                id=found.id, function=found.function, state=found.state,
                result=found.result, created_at=found.created_ms,
                finished_at=found.updated_ms if found.result else None, error=found.error,
            )
            for found in reader.workflows(connection, None, ALL)
        ),
    )  # fmt: skip


def _ours(connection: apsw.Connection) -> tuple[Execution, ...]:
    schema = read_meta(connection)["schema_version"]
    if schema != KNOWN_SCHEMA:
        raise VerificationFailed(f"its schema {schema} is that of a later version")
    rows = connection.execute(_SQL["executions"], {"text": TEXT_MAX})
    return tuple(
        Execution(
            id=execution_id, function=function, state=state, result=result,
            created_at=created, finished_at=finished, parent=parent, error=error, input=given,
        )
        for execution_id, function, state, result, created, finished, parent, error, given
        in rows
    )  # fmt: skip


def _unbegun(connection: apsw.Connection) -> Iterator[Execution]:
    """Return what was submitted while nobody was there to begin it."""
    reader = WholeReader(open_reader(Path("backup"), connection))
    for row in reader.executions(ExecutionFilter(state=State.PENDING, limit=ALL)):
        if row.key < 0:
            yield Execution(
                id=row.id, function=row.function, state=row.state, created_at=row.created_at
            )
