"""
From a log to what a person asks about it. Pure: the same log gives the same answer.

Tolerant where the engine is strict: a post-mortem reads what can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from obelisk_ops.core.events import COMMANDS, Event, SetAside
from obelisk_ops.errors import VerificationFailed

_decode = msgspec.json.Decoder(dict[str, Any]).decode


#: events that tell whether code may go on, or the end is asked for
RESTS = frozenset({"parked", "resumed", "cancel_requested"})


@dataclass(slots=True)
class CallStory:
    """
    What became of one call.

    Attributes:
        n: Its number.
        kind: ``activity``, ``timer``, ``child``, ``signal``, ``stub`` or ``scheduled``.
        function: Name of the activity, stub or workflow; of the signal.
        asked_at: When the code asked for it; UTC milliseconds.
        queue: Which queue an activity waits in; empty for the default one.
        attempts: How many were started.
        started_at: When the last one was; UTC milliseconds.
        retry_at: When the next one will be; UTC milliseconds.
        due: When a timer fires; UTC milliseconds.
        outcome: None (open), ``ok``, ``error`` or ``cancelled``.
        error: The last error.
        aside: Why what came for it last was set aside.
    """

    n: int
    kind: str
    function: str | None = None
    asked_at: int = 0
    queue: str = ""
    attempts: int = 0
    started_at: int | None = None
    retry_at: int | None = None
    due: int | None = None
    outcome: str | None = None
    error: dict[str, Any] | None = None
    aside: str = ""

    @property
    def is_in_flight(self) -> bool:
        """Whether an attempt was started whose outcome is not on record."""
        return self.outcome is None and self.started_at is not None


@dataclass(slots=True)
class Story:
    """
    What became of one execution.

    Attributes:
        input: Its arguments.
        value: Its result, once it has one.
        error: Its error, once it has one.
        calls: By number.
        has_ended: Whether its last event is on record.
        start_at: When its code begins; UTC milliseconds, 0 for at once.
        has_begun: Whether its code has run.
        paused_at: Since when it is paused; UTC milliseconds.
        is_moved: Whether that is because it goes on in another database.
        cancelled_at: When it was asked to cancel; UTC milliseconds.
        is_late: Whether that was because it took too long.
        parked: Why it is parked, if that is the last thing known.
        is_closing: Whether it was cancelled since: it ends when its children have.
        forked_from: Of which execution it is a fork, and its first version of its own.
        continues: Id of the execution in whose place it goes on.
        continued_as: Id of the one that goes on in its place.
        schedule_id: Id of the schedule that made it.
    """

    input: Any = None
    value: Any = None
    error: dict[str, Any] | None = None
    calls: dict[int, CallStory] = field(default_factory=dict)
    has_ended: bool = False
    start_at: int = 0
    has_begun: bool = False
    paused_at: int | None = None
    is_moved: bool = False
    cancelled_at: int | None = None
    is_late: bool = False
    parked: dict[str, Any] | None = None
    is_closing: bool = False
    forked_from: dict[str, Any] | None = None
    continues: str | None = None
    continued_as: str | None = None
    schedule_id: str | None = None

    def take_back(self, n: int) -> None:
        """Take back the start of a call's last attempt, which is on record and held back."""
        call = self.calls[n]
        if call.is_in_flight:
            call.attempts, call.started_at = call.attempts - 1, None


def began_at(log: Iterable[Event]) -> int | None:
    """Return when the code began, UTC milliseconds; None if it has not."""
    return next((event.at for event in log if event.kind in COMMANDS), None)


def aside_in(log: Iterable[Event]) -> set[int]:
    """Return the inbox rows that fit no call, and are told to none."""
    return {
        msgspec.json.decode(event.body, type=SetAside).seq
        for event in log
        if event.kind == "set_aside"
    }


def is_closing(log: Iterable[Event]) -> bool:
    """Tell whether one was cancelled while it was parked; RESTS of its log are enough."""
    rests = [event.kind for event in log if event.kind in RESTS]
    return rests[-2:] == ["parked", "cancel_requested"]


def last_told(log: Sequence[Event]) -> int | None:
    """
    Return the last version that code has to do with, if an execution ends without its code.

    It was cancelled before its code began (then 0), or while it was parked. None for every
    other log.
    """
    if is_closing(log):
        return next(event.version for event in reversed(log) if event.kind == "parked")
    end = log[-1]
    if end.kind != "finished" or _decode(end.body).get("result") != "cancelled":
        return None
    if all(event.kind not in COMMANDS for event in log[:-1]):
        return 0
    rests = [event for event in log if event.kind in ("parked", "resumed")]
    return rests[-1].version if rests and rests[-1].kind == "parked" else None


def fold(log: Iterable[Event]) -> Story:
    """
    Tell the story of a log, or of the beginning of one.

    Raises:
        VerificationFailed: It is no log that anybody wrote.
        msgspec.DecodeError: An event is damaged.
    """
    story = Story()
    for event in log:
        body = _decode(event.body)
        story.has_begun = story.has_begun or event.kind in COMMANDS
        step = _STEPS.get(event.kind)
        if step is not None:
            try:
                step(story, body, event.at)
            except KeyError as missing:
                raise misfit(event, missing) from None
    return story


def misfit(event: Event, missing: KeyError) -> VerificationFailed:
    """Return what is said of an event that speaks of a call that is not there."""
    return VerificationFailed(
        f"version {event.version} of a log, {event.kind!r}, does not fit what is "
        f"before it: {missing}"
    )


def _created(story: Story, body: dict[str, Any], at: int) -> None:
    story.input, story.start_at = body.get("in"), body.get("start_at", 0)
    story.paused_at = at if body.get("paused") else None
    story.forked_from, story.continues = body.get("forked_from"), body.get("continues")
    story.schedule_id = body.get("cron")


def _intended(story: Story, body: dict[str, Any], at: int) -> None:
    call = CallStory(body["n"], "activity", body["fn"], at, body.get("queue", ""))
    if body.get("try"):
        call.attempts, call.started_at = 1, at
    story.calls[call.n] = call


def _attempt_started(story: Story, body: dict[str, Any], at: int) -> None:
    call = story.calls[body["n"]]
    call.attempts, call.started_at, call.retry_at = body["try"], at, None


def _attempt_failed(story: Story, body: dict[str, Any], _at: int) -> None:
    call = story.calls[body["n"]]
    call.started_at, call.retry_at, call.error = None, body["retry_at"], body["error"]


def _returned(story: Story, body: dict[str, Any], _at: int) -> None:
    call = story.calls[body["n"]]
    call.error = body.get("error")
    call.outcome = "error" if call.error else "ok"


def _timer_set(story: Story, body: dict[str, Any], at: int) -> None:
    story.calls[body["n"]] = CallStory(body["n"], "timer", None, at, due=body["until"])


def _child_created(story: Story, body: dict[str, Any], at: int) -> None:
    story.calls[body["n"]] = CallStory(body["n"], "child", body["fn"], at)


def _signal_awaited(story: Story, body: dict[str, Any], at: int) -> None:
    call = CallStory(body["n"], "signal", body["name"], at, due=body.get("until"))
    story.calls[call.n] = call


def _stub_requested(story: Story, body: dict[str, Any], at: int) -> None:
    story.calls[body["n"]] = CallStory(body["n"], "stub", body["fn"], at)


def _scheduled(story: Story, body: dict[str, Any], at: int) -> None:
    call = CallStory(body["n"], "scheduled", body["fn"], at, due=body.get("start_at"))
    call.outcome = "ok"  # asked for, and that is all
    story.calls[call.n] = call


def _answered(story: Story, body: dict[str, Any], _at: int) -> None:
    story.calls[body["n"]].outcome = "ok"


def _set_aside(story: Story, body: dict[str, Any], _at: int) -> None:
    story.calls[body["n"]].aside = body["error"]


def _cancelled(story: Story, body: dict[str, Any], _at: int) -> None:
    story.calls[body["n"]].outcome = "cancelled"


def _cancel_requested(story: Story, body: dict[str, Any], at: int) -> None:
    story.is_closing = story.parked is not None
    if story.cancelled_at is None:
        story.cancelled_at, story.is_late = at, body.get("reason") == "timeout"


def _paused(story: Story, body: dict[str, Any], at: int) -> None:
    story.paused_at, story.is_moved = at, body.get("moved", False)


def _unpaused(story: Story, _body: dict[str, Any], _at: int) -> None:
    story.paused_at, story.is_moved = None, False


def _parked(story: Story, body: dict[str, Any], _at: int) -> None:
    story.parked = body["error"]


def _resumed(story: Story, _body: dict[str, Any], _at: int) -> None:
    story.parked = None


def _finished(story: Story, body: dict[str, Any], _at: int) -> None:
    story.value, story.error, story.has_ended = body.get("ok"), body.get("error"), True
    story.continued_as = body.get("continued")


_STEPS = {
    "created": _created,
    "intended": _intended,
    "attempt_started": _attempt_started,
    "attempt_failed": _attempt_failed,
    "returned": _returned,
    "timer_set": _timer_set,
    "timer_fired": _answered,
    "child_created": _child_created,
    "child_finished": _answered,
    "signal_awaited": _signal_awaited,
    "signal_received": _answered,
    "stub_requested": _stub_requested,
    "stub_answered": _answered,
    "set_aside": _set_aside,
    "scheduled": _scheduled,
    "cancelled": _cancelled,
    "cancel_requested": _cancel_requested,
    "paused": _paused,
    "unpaused": _unpaused,
    "parked": _parked,
    "resumed": _resumed,
    "finished": _finished,
}
