"""``inspect`` of a database that another engine wrote: what ran in it, and each step."""

from __future__ import annotations

from typing import Any

from obelisk_ops.cli.output import print_json, print_table
from obelisk_ops.cli.reading import moment
from obelisk_ops.inspect import foreign
from obelisk_ops.inspect.others.model import Overview, Step, Workflow
from obelisk_ops.restore.databases import Place


def overview_json(other: Overview) -> dict[str, Any]:
    """Return the fields of ``inspect --json`` that tell what ran, in the same shape as ours."""
    states: dict[str, int] = {}
    for counts in other.functions.values():
        for state, count in counts.items():
            states[state] = states.get(state, 0) + count
    return {
        "engine": other.engine, "executions": states, "functions": other.functions,
        "failures": [
            {
                "execution_id": failed.id, "function": failed.function,
                "error": {"type": failed.state, "message": failed.error or ""},
                "at": moment(failed.updated_ms),
            }
            for failed in other.failures
        ],
        "in_flight": [
            {
                "execution_id": call.id, "call_id": call.id, "function": call.function,
                "activity": call.step, "try": call.attempt, "since": moment(call.since_ms),
            }
            for call in other.unfinished
        ],
        "last_event_at": moment(other.last_event_ms),
    }  # fmt: skip


def show_executions(place: Place, *, state: str | None, limit: int, as_json: bool) -> None:
    """
    List the newest executions.

    Raises:
        UsageError: No engine is known that writes such a database.
    """
    with place.open() as connection:
        found = foreign.executions(connection, place.name, state=state, limit=limit)
    if as_json:
        print_json({"executions": [_execution_json(row) for row in found]})
        return
    print_table(
        ("id", "function", "state", "created", "updated", "error"),
        [
            (row.id, row.function, row.state, moment(row.created_ms), moment(row.updated_ms),
             row.error)
            for row in found
        ],
    )  # fmt: skip


def show_steps(place: Place, execution_id: str, *, as_json: bool) -> None:
    """
    Show what is recorded of one execution.

    Raises:
        UsageError: No engine is known that writes such a database.
        ExecutionNotFound: There is none of this id.
    """
    with place.open() as connection:
        steps = foreign.steps(connection, place.name, execution_id)
    if as_json:
        print_json(
            {"execution_id": execution_id, "steps": [_step_json(step) for step in steps]}
        )
        return
    print_table(
        ("step", "name", "began", "ended", "value", "error", "child"),
        [
            (step.n, step.name, moment(step.began_ms), moment(step.ended_ms), step.value,
             step.error, step.child)
            for step in steps
        ],
    )  # fmt: skip


def _execution_json(row: Workflow) -> dict[str, Any]:
    return {
        "execution_id": row.id, "function": row.function, "state": row.state,
        "created_at": moment(row.created_ms), "updated_at": moment(row.updated_ms),
        "error": row.error,
    }  # fmt: skip


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "n": step.n, "name": step.name, "began_at": moment(step.began_ms),
        "ended_at": moment(step.ended_ms), "value": step.value, "error": step.error,
        "child": step.child,
    }  # fmt: skip
