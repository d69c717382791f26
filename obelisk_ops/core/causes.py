"""
Whether everything that a log says has a cause in it. Pure.

A response answers a call that was made before it and is open; an attempt is one of such a
call. A log of which a page is another database's, or of another moment, does not hold that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import InboxItem, State, StateRow

#: what a command opens
_OPENS = {
    "intended": "activity",
    "timer_set": "timer",
    "child_created": "child",
    "signal_awaited": "signal",
    "stub_requested": "stub",
}
#: what a response answers, and closes
_ANSWERS = {
    "returned": "activity",
    "timer_fired": "timer",  # or a signal that was awaited for so long
    "child_finished": "child",
    "signal_received": "signal",
    "stub_answered": "stub",
}
#: what is said of an open call, and leaves it open
_SAYS = {"attempt_started": "activity", "attempt_failed": "activity", "child_cancel": "child"}

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def unfounded(log: Sequence[Event]) -> Iterator[str]:
    """
    Say in words which events of a log have no cause in it; nothing, if all have.

    Raises:
        msgspec.DecodeError: An event is damaged.
        KeyError: The same.
    """
    if not log or log[0].kind != "created":
        yield "it does not begin with its creation"
    calls: dict[int, str] = {}  # what each open call is; empty once it is closed
    for event in log:
        why = _why_not(event, calls)
        if why:
            yield f"version {event.version}, {event.kind!r}, {why}"
    if any(event.kind == "finished" for event in log[:-1]):
        yield "it goes on behind its end"


def _why_not(event: Event, calls: dict[int, str]) -> str:
    """Take in one event, and say why it cannot stand where it does."""
    kind = event.kind
    opened, wanted = _OPENS.get(kind), _SAYS.get(kind) or _ANSWERS.get(kind)
    if not (opened or wanted or kind == "cancelled"):
        return ""
    n = _decode(event.body)["n"]
    present = calls.get(n)
    if opened:
        calls[n] = opened
        return "" if present is None else f"makes call {n} a second time"
    if kind not in _SAYS:
        calls[n] = ""
    is_late = kind == "timer_fired" and present == "signal"
    is_its = bool(present) and (wanted in (None, present) or is_late)
    return "" if is_its else f"is of no open {wanted or 'call'}: {n}"


def unhappened(
    row: StateRow,
    log: Sequence[Event],
    inbox: Mapping[int, InboxItem],
    end_of: Callable[[str], Event | None],
) -> Iterator[str]:
    """
    Say which ends of child workflows an execution was told of that did not happen.

    Args:
        row: The execution.
        log: Its log.
        inbox: Its inbox, by seq.
        end_of: Returns the last event of the last execution of a child's chain; None if
            there is no such child.
    """
    children = {}
    for event in log:
        if event.kind == "child_created":
            body = _decode(event.body)
            children[body["n"]] = body["id"]
        elif event.kind == "child_finished":
            body = _decode(event.body)
            child = children.get(body["n"], "")
            end, told = end_of(child), inbox.get(body["seq"])
            # Of a family that is over, members are pruned one after the other.
            if end is None and row.state is not State.FINISHED:
                yield f"version {event.version}: there is no child {child!r}"
            elif end is not None and end.kind != "finished":
                yield f"version {event.version}: the child {child!r} has not ended"
            elif end is not None and told is not None and told.body != end.body:
                yield f"version {event.version}: the child {child!r} has ended otherwise"
