"""
Writing the tables of an execution log, whichever database holds them.

Here is which statements make a group of writes durable, and in which order, and which of its
writes are refused; a backend has the statements, by the same names, and runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import astuple

from obelisk_ops.core.ports import Write
from obelisk_ops.core.rows import CronRow
from obelisk_ops.errors import OpsError

#: statements that take rows of Write.pruned, in this order
_PRUNING = (
    "prune_states", "prune_timers", "prune_beats", "prune_outputs", "prune_logs",
    "prune_inboxes", "note_leftovers", "drop_leftovers",
)  # fmt: skip


def steps(writes: Sequence[Write]) -> Iterator[tuple[str, list[Any]]]:
    """
    Yield the statements that write what is beside the log, each with its rows.

    One statement for each table that is touched. The rows of the log go before them, and
    are not among these: they are nearly all that there is.
    """
    others = [write for write in writes if not write.is_log_only]
    if others:
        yield from ((name, rows) for name, rows in _others(_gathered(others)) if rows)


def one_by_one(
    writes: Sequence[Write],
    attempt: Callable[[Write], OpsError | None],
    guilty: Mapping[int, OpsError] | None = None,
) -> dict[int, OpsError]:
    """
    Write what was refused as a group; return what is refused of it, by its place, and why.

    An execution of which a write is refused is guilty: the writes of it that follow are
    refused for the same reason, for they were meant to stand behind that one.

    Args:
        writes: In their order.
        attempt: Writes one; or returns why it cannot be, and leaves nothing of it.
        guilty: Executions of which a write was refused before, by key, and why.
    """
    refused: dict[int, OpsError] = {}
    known = dict(guilty or {})
    for position, write in enumerate(writes):
        error = next((known[e] for e in write.executions if e in known), None)
        error = error or attempt(write)
        if error is not None:
            refused[position] = error
            known.update(dict.fromkeys(write.executions, error))
    return refused


def id_of_signal(body: str) -> str | None:
    """Return the id in the body of a signal, if it has one and is not damaged."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return found.get("id") if isinstance(found, dict) else None


def _others(rows: Mapping[str, list[Any]]) -> Iterator[tuple[str, list[Any]]]:
    yield "create_state", [astuple(row) for row in rows["created"]]
    yield "change_states", list({row.key: astuple(row) for row in rows["changed"]}.values())
    yield "add_inbox", rows["inbox"]
    yield "arm_timers", rows["timers"]
    yield "disarm_timers", rows["timers_done"]
    yield "drop_letters", rows["letters_done"]
    yield "put_refusals", rows["refusals"]
    yield "forget_refusals", rows["refusals"]
    yield "put_crons", list({row.id: _columns(row) for row in rows["crons"]}.values())
    yield "drop_crons", rows["crons_gone"]
    yield "put_beats", rows["beats"]
    yield "drop_beats", rows["beats_done"]
    yield "add_outputs", rows["outputs"]
    yield "put_starts", rows["starts"]
    yield "drop_starts", rows["starts_gone"]
    yield "offer_tasks", [astuple(row) for row in rows["tasks"]]
    yield "drop_tasks", rows["tasks_gone"]
    for name in _PRUNING:
        yield name, rows["pruned"]


def _gathered(writes: Sequence[Write]) -> dict[str, list[Any]]:
    """Return the rows of all writes by field; not in Python, for most of them have none."""
    fields = zip(Write.__struct_fields__, zip(*map(astuple, writes), strict=True), strict=True)
    return {name: list(chain.from_iterable(rows)) for name, rows in list(fields)[1:]}


def _columns(row: CronRow) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.__slots__)
