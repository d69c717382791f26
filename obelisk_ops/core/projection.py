"""
From a history to the rows of an execution: its state and its timers follow from its log.

An execution that comes from elsewhere (a fork, an exported history) is written down with
them, and is no different then from one that was made here.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count

from obelisk_ops.core.history import History
from obelisk_ops.core.ports import OutputRow, State, StateRow, Write
from obelisk_ops.core.rebuild import rebuild

#: Its code is not in memory: whether it waits for something, who takes it up finds out.
_DRIVEN = (State.RUNNING, State.BLOCKED)


def rows_of(history: History, key: int, *, parent: int | None = None) -> Write:
    """
    Return all rows of an execution.

    Args:
        history: What is known of it.
        key: The integer that it is to be known by.
        parent: That of the execution whose child it is.
    """
    log = history.events
    made = log[0].at if history.created_at is None else history.created_at
    found = rebuild(log, history.inbox, created_at=made)
    number = history.execution_id.rpartition("/")[2] if parent is not None else None
    row = StateRow(
        key=key,
        id=history.execution_id,
        parent=parent,
        parent_n=None if number is None else int(number.partition("~")[0]),
        function=history.function,
        state=State.PENDING if found.state in _DRIVEN else found.state,
        result=found.result,
        created_at=made,
        finished_at=found.finished_at,
        error=found.error,
    )
    return Write(
        key,
        [(key, e.version, e.at, e.kind, e.body) for e in log],
        created=[row],
        inbox=[(key, seq, i.kind, i.ref, i.at, i.body) for seq, i in history.inbox.items()],
        timers=[(key, n, due) for n, due in found.timers.items()],
        beats=[(key, n, b.attempt, b.at, b.body) for n, b in history.beats.items()],
        outputs=_outputs(history, key),
    )


def _outputs(history: History, key: int) -> list[OutputRow]:
    seqs: defaultdict[tuple[int, int], count[int]] = defaultdict(lambda: count(1))
    return [
        (key, o.n, o.attempt, next(seqs[o.n, o.attempt]), o.stream, o.at, o.text)
        for o in history.outputs
    ]
