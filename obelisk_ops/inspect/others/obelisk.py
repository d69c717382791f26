"""
Databases of Obelisk: table ``t_state``, and the log of every execution in ``t_execution_log``.

A step is an event of the log, as the JSON that it is stored as. Times are texts (RFC 3339).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import apsw

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

_SQL = sql.load("obelisk_ops.inspect.others", "obelisk.sql")
_WELL = '"ok"'


def _overview(connection: apsw.Connection) -> Overview:
    return Overview(
        engine="obelisk",
        functions=counted(connection.execute(_SQL["counts"])),
        failures=tuple(_execution(row) for row in _ask(connection, "failures")),
        unfinished=tuple(_locked(row) for row in _ask(connection, "locked")),
        last_event_ms=_moment(next(iter(connection.execute(_SQL["last"])), (None,))[0]),
    )


def _executions(connection: apsw.Connection, state: str | None, limit: int) -> list[Workflow]:
    rows = _ask(connection, "executions", limit=limit, state=state)
    return [_execution(row) for row in rows]


def _events(connection: apsw.Connection, execution_id: str) -> list[Step] | None:
    found = [_event(row) for row in _ask(connection, "events", id=execution_id)]
    return found or None


def _ask(connection: apsw.Connection, name: str, **values: Any) -> list[Any]:  # noqa: ANN401
    given = {"text": TEXT_MAX, "limit": LISTED_MAX, **values}
    return list(connection.execute(_SQL[name], given))


def _execution(row: Sequence[object]) -> Workflow:
    execution_id, function, state, created, updated, result, last = row
    ended_well = result is None or result == _WELL
    return Workflow(
        id=text(execution_id) or "", function=text(function) or "", state=text(state) or "",
        created_ms=_moment(created), updated_ms=_moment(updated),
        error=None if ended_well else f"{text(result)}: {text(last)}",
    )  # fmt: skip


def _locked(row: Sequence[object]) -> Unfinished:
    execution_id, function, kind, failed, since = row
    return Unfinished(
        id=text(execution_id) or "", function=text(function) or "", step=text(kind) or "",
        attempt=(number(failed) or 0) + 1, since_ms=_moment(since),
    )  # fmt: skip


def _event(row: Sequence[object]) -> Step:
    n, kind, at, body = row
    return Step(n=number(n) or 0, name=text(kind) or "", ended_ms=_moment(at), value=text(body))


def _moment(stored: object) -> int | None:
    try:
        at = datetime.fromisoformat(str(stored))
    except ValueError:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


READER = Reader(
    engine="obelisk",
    tables=frozenset({"t_state", "t_execution_log", "t_join_set_response"}),
    overview=_overview,
    workflows=_executions,
    steps=_events,
)
