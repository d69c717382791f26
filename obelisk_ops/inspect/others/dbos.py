"""
Databases of DBOS, version 1 to 3.4: table ``workflow_status``, and ``operation_outputs``.

A step is recorded when it has ended, so what was running is known only as "after step N".
Values are pickles unless the application chose JSON; see ``pickles``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from obelisk_ops.inspect.others import pickles
from obelisk_ops.inspect.others.model import (
    LISTED_MAX,
    TEXT_MAX,
    Overview,
    Reader,
    Step,
    Unfinished,
    Workflow,
    counted,
    number,
    text,
)
from obelisk_ops.storage import sql

_SQL = sql.load("obelisk_ops.inspect.others", "dbos.sql")


def _overview(connection: apsw.Connection) -> Overview:
    failed = _ask(connection, "failures", limit=LISTED_MAX)
    pending = _ask(connection, "unfinished", limit=LISTED_MAX)
    return Overview(
        engine="dbos",
        functions=counted(connection.execute(_SQL["counts"])),
        failures=tuple(_workflow(row) for row in failed),
        unfinished=tuple(_unfinished(row) for row in pending),
        last_event_ms=number(next(iter(connection.execute(_SQL["last"])), (None,))[0]),
    )


def _workflows(connection: apsw.Connection, state: str | None, limit: int) -> list[Workflow]:
    rows = _ask(connection, "workflows", limit=limit, status=state)
    return [_workflow(row) for row in rows]


def _steps(connection: apsw.Connection, execution_id: str) -> list[Step] | None:
    if not list(connection.execute(_SQL["exists"], (execution_id,))):
        return None
    return [_step(row) for row in _ask(connection, "steps", id=execution_id)]


def _ask(connection: apsw.Connection, name: str, **values: Any) -> list[Any]:  # noqa: ANN401
    statement = (
        _SQL[name]
        .replace("{error}", _error_column(connection))
        .replace("{began}", _time_column(connection, "started_at_epoch_ms"))
        .replace("{ended}", _time_column(connection, "completed_at_epoch_ms"))
    )
    return list(connection.execute(statement, {"text": TEXT_MAX, **values}))


def _error_column(connection: apsw.Connection) -> str:
    has_own = "error" in _columns(connection, "workflow_output")
    return _SQL["error_of_its_own_table"] if has_own else "w.error"


def _time_column(connection: apsw.Connection, name: str) -> str:
    return name if name in _columns(connection, "operation_outputs") else "NULL"


def _columns(connection: apsw.Connection, table: str) -> set[str]:
    return {str(row[0]) for row in connection.execute(_SQL["columns"], (table,))}


def _workflow(row: Sequence[object]) -> Workflow:
    workflow_id, name, status, created, updated, error = row
    return Workflow(
        id=text(workflow_id) or "", function=text(name) or "", state=text(status) or "",
        created_ms=number(created), updated_ms=number(updated), error=_value(error),
    )  # fmt: skip


def _unfinished(row: Sequence[object]) -> Unfinished:
    workflow_id, name, attempts, updated, last = row
    done = number(last)
    return Unfinished(
        id=text(workflow_id) or "", function=text(name) or "",
        step="the first step" if done is None else f"after step {done}",
        attempt=number(attempts), since_ms=number(updated),
    )  # fmt: skip


def _step(row: Sequence[object]) -> Step:
    n, name, began, ended, output, error, child = row
    return Step(
        n=number(n) or 0, name=text(name) or "", began_ms=number(began),
        ended_ms=number(ended), value=_value(output), error=_value(error), child=text(child),
    )  # fmt: skip


def _value(stored: object) -> str | None:
    """Return a value as text: JSON as it is, of a pickle what its opcodes tell."""
    found = text(stored)
    pickle = pickles.decode(found) if found else None
    return found if pickle is None else f"pickle: {pickles.describe(pickle)}"


READER = Reader(
    engine="dbos",
    tables=frozenset({"workflow_status", "operation_outputs", "workflow_events"}),
    overview=_overview,
    workflows=_workflows,
    steps=_steps,
)
