"""
From a log to the rows of an execution: its state and its timers follow from it.

An execution that comes from elsewhere (a fork, an exported history) is written down with
them, and is no different then from one that was made here.
"""

from __future__ import annotations

from msgspec import UNSET

from obelisk_ops.core import events
from obelisk_ops.core.fold import Story, began_at, fold
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import LogRow, Result, State, StateRow, TimerRow, Write

DEADLINE, START = 0, -1


def rows_of(
    history: History,
    key: int,
    *,
    parent: int | None = None,
    created_at: int | None = None,
) -> Write:
    """
    Return all rows of an execution.

    Args:
        history: Its log and inbox.
        key: The integer that it is to be known by.
        parent: That of the execution whose child it is.
        created_at: When it was made, if not when its log says: of a fork.
    """
    log = history.events
    story = fold(log)
    made = log[0].at if created_at is None else created_at
    number = history.execution_id.rpartition("/")[2] if parent is not None else None
    state = state_of(story)
    row = StateRow(
        key=key,
        id=history.execution_id,
        parent=parent,
        parent_n=None if number is None else int(number.partition("~")[0]),
        function=history.function,
        state=state,
        result=_result(history) if story.has_ended else None,
        created_at=made,
        finished_at=log[-1].at if story.has_ended else None,
        error=_error(story),
    )
    rows: list[LogRow] = [(key, e.version, e.at, e.kind, e.body) for e in log]
    return Write(
        key,
        rows,
        created=[row],
        inbox=[(key, seq, i.kind, i.ref, i.at, i.body) for seq, i in history.inbox.items()],
        timers=[] if story.has_ended else _timers(history, key, story, created_at),
    )


def state_of(story: Story) -> State:
    """Return the state of an execution of which nothing is in memory."""
    if story.has_ended:
        return State.FINISHED
    if story.parked is not None:
        return State.PARKED
    if story.paused_at is not None:
        return State.PAUSED
    return State.PENDING


def _timers(history: History, key: int, story: Story, made: int | None) -> list[TimerRow]:
    created, log = history.created, history.events
    timers: list[TimerRow] = [
        (key, call.n, call.due)
        for call in story.calls.values()
        if call.outcome is None and call.kind in ("timer", "signal") and call.due
    ]
    if created.timeout and story.has_begun and not story.is_late:
        begun = began_at(log) if made is None else made
        timers.append((key, DEADLINE, (begun or log[0].at) + created.timeout))
    if created.start_at and not story.has_begun:
        timers.append((key, START, created.start_at))
    return timers


def _result(history: History) -> Result:
    body: events.Finished = events.decode(history.events[-1])
    if body.error is UNSET:
        return Result.OK
    return Result(body.result or "error")


def _error(story: Story) -> str | None:
    if story.has_ended:
        failure = story.error
        return f"{failure['type']}: {failure['message']}"[:2000] if failure else None
    return story.parked["message"] if story.parked is not None else None
