"""Reading executions as histories: one, or one with all child workflows below it."""

from __future__ import annotations

from collections.abc import Iterator

from obelisk_ops.core import ids
from obelisk_ops.core.fold import fold
from obelisk_ops.core.history import History, history_of
from obelisk_ops.core.ports import LogReader, StateRow


def history_in(reader: LogReader, row: StateRow) -> History:
    """Return the history of one execution."""
    return history_of(row.id, reader.log(row.key), reader.inbox(row.key))


def family_in(reader: LogReader, row: StateRow) -> list[History]:
    """Return the histories of an execution and of the child workflows below it."""
    history = history_in(reader, row)
    found = [history]
    for call in fold(history.events).calls.values():
        if call.kind == "child":
            for child in successors(reader, ids.derived(row.id, call.n)):
                found += family_in(reader, child)
    return found


def successors(reader: LogReader, execution_id: str) -> Iterator[StateRow]:
    """Yield an execution and those that went on in its place."""
    while (row := reader.find(execution_id)) is not None:
        yield row
        execution_id = ids.successor(execution_id)
