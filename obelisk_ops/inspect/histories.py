"""Reading executions as histories: one, or one with all child workflows below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from obelisk_ops.core import ids
from obelisk_ops.core.fold import fold
from obelisk_ops.core.history import History, history_of
from obelisk_ops.core.moving import is_torn
from obelisk_ops.core.ports import LogReader, StateRow

_READ_AGAIN = 10


def history_in(reader: LogReader, row: StateRow) -> History:
    """Return the history of one execution."""
    return history_of(row.id, reader.log(row.key), reader.inbox(row.key))


def family_in(reader: LogReader, row: StateRow) -> list[History]:
    """
    Return all that is known of an execution and of the child workflows below it.

    Also of those that went on in its place, of which the last one may be unfinished. Others
    may go on with it meanwhile: what does not fit together is read again.
    """
    found = _family(reader, row)
    for _ in range(_READ_AGAIN):
        if not is_torn(found):
            break
        found = _family(reader, row)
    return found


def _family(reader: LogReader, row: StateRow) -> list[History]:
    found: list[History] = []
    for link in successors(reader, row.id):
        history = _whole(reader, link)
        found.append(history)
        for call in fold(history.events).calls.values():
            child = reader.find(ids.derived(link.id, call.n)) if call.kind == "child" else None
            if child is not None:
                found += _family(reader, child)
    return found


def _whole(reader: LogReader, row: StateRow) -> History:
    history = history_in(reader, row)
    return replace(
        history,
        created_at=row.created_at if row.created_at != history.events[0].at else None,
        beats=reader.beats(row.key),
        outputs=reader.outputs(row.key),
    )


def successors(reader: LogReader, execution_id: str) -> Iterator[StateRow]:
    """Yield an execution and those that went on in its place."""
    while (row := reader.find(execution_id)) is not None:
        yield row
        execution_id = ids.successor(execution_id)
