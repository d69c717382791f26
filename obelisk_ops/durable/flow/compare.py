"""The determinism check: is what the code asks for what its log says it asked for?"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw

from obelisk_ops.core.events import (
    KINDS,
    Body,
    Cancelled,
    ChildCancel,
    ChildCreated,
    Event,
    Finished,
    Intended,
    Patched,
    Scheduled,
    SignalAwaited,
    StubRequested,
    TimerSet,
)
from obelisk_ops.errors import Nondeterminism

#: what is compared of a command: what the code meant, not what came of it
_INTENTION: dict[type, Callable[[Any], Any]] = {
    Intended: attrgetter("n", "fn", "set"),
    ChildCreated: attrgetter("n", "fn", "set"),
    StubRequested: attrgetter("n", "fn", "set"),
    TimerSet: attrgetter("n", "wait", "set"),
    SignalAwaited: attrgetter("n", "name", "wait", "set"),
    # A moment that was asked for counts; one that came of a wait does not.
    Scheduled: lambda body: (body.n, body.fn, body.wait or -body.start_at),
    Cancelled: attrgetter("n"),
    ChildCancel: attrgetter("n"),
    Patched: attrgetter("name"),
    Finished: attrgetter("result", "continued"),
}
_WHAT: dict[type, str] = {
    Intended: "activity",
    ChildCreated: "child workflow",
    StubRequested: "stub",
    Scheduled: "scheduled",
}
_TEXT_MAX = 200


def same(recorded: Any, wanted: Any) -> bool:  # noqa: ANN401 - two bodies of one kind
    """Return whether a command on record is the one that the code asks for."""
    intention = _INTENTION[type(recorded)]
    if intention(recorded) != intention(wanted):
        return False
    if type(recorded) in _WHAT:
        return _same_json(recorded.input, wanted.input)
    return type(recorded) is not Finished or _same_outcome(recorded, wanted)


def describe(body: Any) -> str:  # noqa: ANN401 - any body
    """Say in words what an event is, for an error message."""
    say = _WORDS.get(type(body))
    if say is not None:
        return say(body)
    return f"'{KINDS[type(body)]}'" + (f" of call {body.n}" if hasattr(body, "n") else "")


def does_not_fit(execution_id: str, event: Event, body: Body, instead: str) -> Nondeterminism:
    """Return the error for code that does *instead* of what its log has."""
    error = Nondeterminism(
        f"execution {execution_id!r}: at version {event.version} the log has "
        f"{describe(body)}, but the code {instead}",
        hint="undo the change of the workflow's code, or let executions that have begun go "
        "the old way with 'if patched(\"name\")', and start it again; or begin a new one with: "
        f"obelisk-ops execution fork {execution_id} --from-version {event.version} --db DB",
    )
    error.version = event.version
    return error


def _call(body: Intended | ChildCreated | StubRequested) -> str:
    return f"call {body.n}, {_WHAT[type(body)]} {body.fn}({_arguments(body.input)}){_of(body)}"


def _scheduled(body: Scheduled) -> str:
    after = f" after {body.wait / 1000:g} s" if body.wait else ""
    return f"call {body.n}, scheduling {body.fn}({_arguments(body.input)}){after}"


def _timer(body: TimerSet) -> str:
    return f"call {body.n}, sleep of {body.wait / 1000:g} s{_of(body)}"


def _signal(body: SignalAwaited) -> str:
    limit = "" if body.wait is None else f", for {body.wait / 1000:g} s"
    return f"call {body.n}, signal {body.name!r}{limit}{_of(body)}"


def _end(body: Finished) -> str:
    return f"the end of the workflow{_ending(body)}"


def _cancelled(body: Cancelled | ChildCancel) -> str:
    return f"the cancelling of call {body.n}"


def _patched(body: Patched) -> str:
    return f"the mark of patched({body.name!r})"


_WORDS: dict[type, Callable[[Any], str]] = {
    Intended: _call,
    ChildCreated: _call,
    StubRequested: _call,
    Scheduled: _scheduled,
    TimerSet: _timer,
    SignalAwaited: _signal,
    Cancelled: _cancelled,
    ChildCancel: _cancelled,
    Patched: _patched,
    Finished: _end,
}


def _arguments(text: Raw) -> str:
    return _short(bytes(text).decode(errors="replace")[1:-1])


def _of(body: Any) -> str:  # noqa: ANN401 - a body of a call
    return f" in join set {body.set!r}" if body.set else ""


def _ending(body: Finished) -> str:
    if body.error:
        return f" by {body.error.type}: {_short(body.error.message)}"
    if body.continued:
        return ", to continue as new"
    return f" with {_short(bytes(body.ok).decode(errors='replace'))}" if body.ok else ""


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[:_TEXT_MAX] + "…"


def _same_json(one: Raw, other: Raw) -> bool:
    return one == other or bool(msgspec.json.decode(one) == msgspec.json.decode(other))


def _same_outcome(one: Finished, other: Finished) -> bool:
    """Compare without tracebacks: they name lines, which move with every edit."""
    if one.error and other.error:
        return (one.error.type, one.error.message) == (other.error.type, other.error.message)
    if one.ok and other.ok:
        return _same_json(one.ok, other.ok)
    return one.ok is other.ok and one.error is other.error
