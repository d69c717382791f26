"""What an engine holds, as text for a test that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from obelisk_ops.core.clock import iso
from obelisk_ops.core.events import Event
from obelisk_ops.core.fold import CallStory, fold
from obelisk_ops.core.ports import State, StateRow
from obelisk_ops.core.words import counted

_LINE_CHARS = 110
_EVENTS_MAX = 30
_EXECUTIONS_MAX = 20


class Shown(Protocol):
    """What is needed of an engine."""

    def row(self, execution_id: str) -> StateRow:
        """See Engine.row."""
        ...

    def read_log(self, execution_id: str) -> list[Event]:
        """See Engine.read_log."""
        ...

    def list(self, *, limit: int = 100) -> list[StateRow]:
        """See Engine.list."""
        ...


def show_log(log: Sequence[Event], most: int = _EVENTS_MAX) -> list[str]:
    """Return a line for each event; of a long log the end."""
    left_out = max(0, len(log) - most)
    head = [f"   … {counted(left_out, 'event')} …"] if left_out else []
    return [*head, *(_line(event, log[0].at) for event in log[left_out:])]


def show_engine(engine: Shown) -> str:
    """Return the executions of an engine, and their logs."""
    rows = engine.list(limit=_EXECUTIONS_MAX + 1)
    lines = []
    for row in rows[:_EXECUTIONS_MAX]:
        ended = f" {row.result}" if row.result else ""
        error = f": {row.error}" if row.error else ""
        lines.append(f"{row.id} ({row.function}) is {row.state}{ended}{error}")
        lines += [f"  {line}" for line in show_log(engine.read_log(row.id))]
    if len(rows) > _EXECUTIONS_MAX:
        lines.append("… and more executions")
    return "\n".join(lines) or "no executions"


def waits_for(engine: Shown, execution_id: str) -> str:
    """Say why a test would hang that waits for this execution."""
    row = engine.row(execution_id)
    log = engine.read_log(execution_id)
    open_calls = [call for call in fold(log).calls.values() if call.outcome is None]
    if row.state is State.PAUSED:
        what = ["it is paused: handle.unpause()"]
    else:
        what = [_what(call) for call in open_calls] or [f"it is {row.state}"]
    lines = "".join(f"\n  - {line}" for line in what)
    shown = "".join(f"\n  {line}" for line in show_log(log))
    return f"execution {execution_id!r} does not end by itself:{lines}\nits log:{shown}"


def _what(call: CallStory) -> str:
    move = "; the clock of a test stands still: 'await clock.advance(…)' moves it"
    match call.kind:
        case "timer":
            return f"call {call.n} waits until {iso(call.due or 0)}{move}"
        case "activity" if call.retry_at is not None:
            error = (call.error or {}).get("message", "")
            retry = f"is tried again at {iso(call.retry_at)}, after: {error}"
            return f"call {call.n}, activity {call.function}, {retry}{move}"
        case "signal":
            until = f" until {iso(call.due)}" if call.due else ""
            return f"call {call.n} waits for the signal {call.function!r}{until}"
        case _:
            return f"call {call.n} waits for {call.kind} {call.function}"


def _line(event: Event, start: int) -> str:
    """Write an event on one line; times are counted from *start*."""
    text = f"v{event.version:<3} +{(event.at - start) / 1000:g}s {event.kind} {event.body}"
    return text if len(text) <= _LINE_CHARS else text[: _LINE_CHARS - 1] + "…"
