"""
Executions that go from one database to another: none may go on in both.

Whoever moves one seals it first: it is paused for good where it was, and says so. A copy of one
that goes on where it is arrives paused. Pure; each decision is an event at the end of a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from obelisk_ops.core import events, ids
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.fold import CallStory, Story, fold
from obelisk_ops.core.history import LIVE, MOVED, History


def arrive(history: History, now_ms: int, *, resume: bool, paused: bool) -> History:
    """
    Return an exported history as it is to be written down in another database.

    Args:
        history: As it was exported.
        now_ms: The time, UTC milliseconds.
        resume: Whether it goes on also if it may go on at its source.
        paused: Whether it is to wait until it is unpaused.
    """
    story = fold(history.events)
    notes: list[Body] = []
    if not story.has_ended:
        if story.is_moved:
            notes.append(events.Unpaused())
        is_free = story.paused_at is None or story.is_moved
        if is_free and (paused or (_is_copy(history, story) and not resume)):
            notes.append(events.Paused())
    log = [*history.events]
    at = max(now_ms, log[-1].at)  # no clock is to make times go backwards
    log += [
        Event(len(log) + i, at, KINDS[type(b)], events.encode(b)) for i, b in enumerate(notes)
    ]
    return replace(history, events=tuple(log), source="")


def _is_copy(history: History, story: Story) -> bool:
    """Tell whether the execution may go on, or goes on by now, somewhere else."""
    return history.source == LIVE or (story.is_moved and history.source != MOVED)


def is_held(history: History) -> bool:
    """Tell whether an execution waits to be unpaused."""
    story = fold(history.events)
    return not story.has_ended and story.paused_at is not None


def in_flight(histories: Sequence[History]) -> list[tuple[str, CallStory]]:
    """Return the calls of which an attempt runs, as far as is known, with their ids."""
    return [
        (f"{one.execution_id}/{call.n}", call)
        for one in histories
        for call in fold(one.events).calls.values()
        if call.is_in_flight and not _has_result(one, call.n)
    ]


def is_torn(histories: Sequence[History]) -> bool:
    """
    Tell whether an execution was read before a child of it had ended, and the child after.

    Taken up like that it would wait for ever for what it has been told already.
    """
    stories = {one.execution_id: fold(one.events) for one in histories}
    return any(
        _has_ended(ids.derived(one.execution_id, call.n), stories)
        for one in histories
        for call in stories[one.execution_id].calls.values()
        if not stories[one.execution_id].has_ended and _is_open_child(one, call)
    )


def _is_open_child(history: History, call: CallStory) -> bool:
    told = any(i.kind == "child" and i.ref == call.n for i in history.inbox.values())
    return call.kind == "child" and call.outcome is None and not told


def _has_ended(execution_id: str, stories: Mapping[str, Story]) -> bool:
    story = stories.get(execution_id)
    while story is not None and story.continued_as:
        story = stories.get(story.continued_as)
    return story is not None and story.has_ended


def _has_result(history: History, n: int) -> bool:
    # One that ends while its execution is paused is told when that goes on.
    return any(i.kind == "result" and i.ref == n for i in history.inbox.values())
