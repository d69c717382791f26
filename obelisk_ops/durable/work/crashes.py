"""Attempts that ended together with their process: what is to become of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from obelisk_ops.core import events, failures
from obelisk_ops.core.events import Event
from obelisk_ops.durable.flow.attempt import unknown
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.errors import ConfigError, CrashLoop, Nondeterminism, OpsError

if TYPE_CHECKING:
    from obelisk_ops.durable.execution import Execution
    from obelisk_ops.durable.turn import Turn

_HINT = (
    "mend what ends the process and serve it with a larger max_crashes, or cancel the execution"
)


def refuse_crash_loop(call_id: str, pending: Pending, max_crashes: int) -> None:
    """
    Return if a call may be tried again.

    Raises:
        CrashLoop: It has ended with its process too often.
    """
    if pending.crashes >= max_crashes:
        assert isinstance(pending.function, Activity)
        raise CrashLoop(
            f"call {call_id!r} of {pending.function.name}: the process ended during "
            f"{pending.crashes} of its attempts",
            hint=_HINT,
        )


def take_up(execution: Execution, turn: Turn, n: int, now_ms: int) -> None:
    """Go on with a call whose last attempt was cut short: its outcome is unknown."""
    turn.follow.append((_take_up, (execution, turn, n, now_ms)))


def _take_up(execution: Execution, turn: Turn, n: int, now_ms: int) -> None:
    pending = execution.machine.pending.get(n)
    if pending is None:
        return  # given up in the same turn
    function = pending.function
    assert isinstance(function, Activity)
    if not function.activity_options.at_most_once:
        execution.attempt_started(turn, n, now_ms)
        return
    what = f"the process ended during attempt {pending.attempt} of {function.name}"
    error = unknown(what, execution.machine.call_id(n))
    told = events.Returned(n=n, error=failures.record(error))
    execution.returned(turn, told, now_ms)


def why_parked(reason: str | None, history: list[Event]) -> OpsError:
    """Return the error for who waits for an execution that is parked."""
    text = reason or "the execution is parked"
    hint = "undo the change of the workflow's code and start it again"
    for event in reversed(history):
        if event.kind == "parked":
            told = events.decode(event).error
            if told is not UNSET and told.type == CrashLoop.__name__:
                return CrashLoop(text, hint=told.hint)
            if told is not UNSET and told.type == ConfigError.__name__:
                hint = told.hint
            break
    return Nondeterminism(text, hint=hint)
