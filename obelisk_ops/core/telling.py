"""
Reading off a log what happened in an execution. Pure.

It reads what can be read: kinds that a later version has written are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from obelisk_ops.core import events
from obelisk_ops.core.chronicle import Attempt, Call, Chronicle, Mark, Outcome, Rest, Stretch
from obelisk_ops.core.events import COMMANDS, Event, Failure
from obelisk_ops.core.fold import misfit
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import InboxItem

_UNKNOWN_OUTCOME: Final = "obelisk_ops.errors.OutcomeUnknown"


def tell(history: History) -> Chronicle:
    """
    Return what happened in an execution.

    Raises:
        VerificationFailed: It is no log that anybody wrote.
        msgspec.DecodeError: An event is damaged.
    """
    reader = _Reader(history.events[0], history.inbox)
    for event in history.events:
        reader.read(event)
    return reader.finish()


class _Reader:
    """Goes through a log, event by event."""

    def __init__(self, first: Event, inbox: Mapping[int, InboxItem]) -> None:
        self._told = Chronicle(created_at=first.at, last_at=first.at)
        self._inbox = inbox
        self._alive_at = first.at  # when the process that wrote was last heard of
        self._is_taking_up = False  # what a dead one has left

    def read(self, event: Event) -> None:
        told = self._told
        told.last_at, told.last_version = max(told.last_at, event.at), event.version
        if event.kind in COMMANDS and told.began_at is None:
            told.began_at = event.at
            self._end_rest(Rest.UNBEGUN, event.at)
        step = _STEPS.get(event.kind)
        if step is not None:
            try:
                step(self, event, events.decode(event))
            except KeyError as missing:
                raise misfit(event, missing) from None
        if not self._is_taking_up and event.kind != "upgraded":
            self._alive_at = event.at
        self._is_taking_up = False

    def finish(self) -> Chronicle:
        for item in self._inbox.values():
            if item.kind == "signal":
                name = str(msgspec.json.decode(item.body, type=dict).get("name", ""))
                self._told.marks.append(Mark("signal", item.at, name))
                self._told.last_at = max(self._told.last_at, item.at)
        self._told.marks.sort(key=lambda mark: mark.at)
        self._told.stretches = [one for one in self._told.stretches if one.has_length]
        return self._told

    # -- calls ------------------------------------------------------------------------

    def created(self, event: Event, body: events.Created) -> None:
        self._told.input, self._told.digest = bytes(body.input), body.digest
        self._rest(Rest.UNBEGUN, event.at)
        if body.paused:
            self._rest(Rest.PAUSED, event.at)

    def intended(self, event: Event, body: events.Intended) -> None:
        call = self._ask(event, "activity", body.n, body.fn, body.input)
        call.queue = body.queue
        if body.attempt:
            call.attempts.append(Attempt(1, event.at))

    def attempt_started(self, event: Event, body: events.AttemptStarted) -> None:
        attempts = self._told.calls[body.n].attempts
        if attempts and attempts[-1].outcome is Outcome.OPEN:
            self._lose(attempts[-1], event.at)
        attempts.append(Attempt(body.attempt, event.at))

    def attempt_failed(self, event: Event, body: events.AttemptFailed) -> None:
        attempts = self._told.calls[body.n].attempts
        if attempts:
            last = attempts[-1]
            last.ended_at, last.outcome = event.at, Outcome.FAILED
            last.error, last.retry_at = body.error, body.retry_at

    def returned(self, event: Event, body: events.Returned) -> None:
        call = self._told.calls[body.n]
        _answer(call, event, body.ok, body.error)
        last = call.attempts[-1] if call.attempts else None
        if last is not None and last.outcome is Outcome.OPEN:
            if call.error is not None and call.error.type == _UNKNOWN_OUTCOME:
                self._lose(last, event.at)
            else:
                last.ended_at, last.outcome, last.error = event.at, call.outcome, call.error

    def timer_set(self, event: Event, body: events.TimerSet) -> None:
        call = self._ask(event, "timer", body.n, "", None)
        call.due, call.wait_ms = body.until, body.wait

    def signal_awaited(self, event: Event, body: events.SignalAwaited) -> None:
        call = self._ask(event, "signal", body.n, body.name, None)
        call.due, call.wait_ms = body.until or None, body.wait

    def child_created(self, event: Event, body: events.ChildCreated) -> None:
        self._ask(event, "child", body.n, body.fn, body.input).target = body.id

    def stub_requested(self, event: Event, body: events.StubRequested) -> None:
        self._ask(event, "stub", body.n, body.fn, body.input)

    def scheduled(self, event: Event, body: events.Scheduled) -> None:
        call = self._ask(event, "scheduled", body.n, body.fn, body.input)
        call.target, call.due, call.wait_ms = body.id, body.start_at or None, body.wait
        _answer(call, event, UNSET, UNSET)

    def answered(self, event: Event, body: _Answer) -> None:
        arrived = self._inbox.get(body.seq)
        told = msgspec.json.decode(arrived.body, type=_Arrived) if arrived else _Arrived()
        value = told.ok if told.value is UNSET else told.value
        _answer(self._told.calls[body.n], event, value, told.error)

    def cancelled(self, event: Event, body: events.Cancelled) -> None:
        call = self._told.calls[body.n]
        call.told_version, call.told_at = event.version, event.at
        call.outcome = Outcome.CANCELLED
        for attempt in call.attempts[-1:]:
            if attempt.outcome is Outcome.OPEN:
                attempt.ended_at, attempt.outcome = event.at, Outcome.CANCELLED

    # -- the whole of it --------------------------------------------------------------

    def paused(self, event: Event, _body: events.Paused) -> None:
        self._rest(Rest.PAUSED, event.at)

    def unpaused(self, event: Event, _body: events.Unpaused) -> None:
        self._end_rest(Rest.PAUSED, event.at)

    def parked(self, event: Event, body: events.Parked) -> None:
        self._told.error = body.error
        self._rest(Rest.PARKED, event.at)

    def resumed(self, event: Event, _body: events.Resumed) -> None:
        self._told.error = None
        self._end_rest(Rest.PARKED, event.at)

    def cancel_requested(self, event: Event, body: events.CancelRequested) -> None:
        kind = "timeout" if body.reason == "timeout" else "cancel"
        self._told.marks.append(Mark(kind, event.at, body.reason))

    def upgraded(self, event: Event, body: events.Upgraded) -> None:
        self._told.digest = body.digest
        self._told.marks.append(Mark("upgraded", event.at, body.digest))

    def patched(self, event: Event, body: events.Patched) -> None:
        self._told.marks.append(Mark("patched", event.at, body.name))

    def finished(self, event: Event, body: events.Finished) -> None:
        told = self._told
        told.has_ended, told.continued_as = True, body.continued
        told.value, told.error = _bytes(body.ok), _error(body.error)
        for rest in Rest:
            self._end_rest(rest, event.at)

    def _ask(self, event: Event, kind: str, n: int, function: str, given: Raw | None) -> Call:
        call = Call(n, kind, function, event.version, event.at)
        call.input = None if given is None else bytes(given)
        self._told.calls[n] = call
        return call

    def _lose(self, attempt: Attempt, seen_at: int) -> None:
        """Note that an attempt ended with its process, and the time until the next one."""
        self._is_taking_up = True
        attempt.outcome = Outcome.LOST
        attempt.ended_at = max(attempt.began_at, self._alive_at)
        gap = Stretch(Rest.DIED, attempt.ended_at, seen_at)
        known = self._told.stretches
        if known and known[-1].rest is Rest.DIED and known[-1].began_at == gap.began_at:
            known[-1].ended_at = seen_at  # the same death, another of its attempts
        else:
            known.append(gap)

    def _rest(self, rest: Rest, at: int) -> None:
        self._told.stretches.append(Stretch(rest, at))

    def _end_rest(self, rest: Rest, at: int) -> None:
        for stretch in self._told.stretches:
            if stretch.rest is rest and stretch.ended_at is None:
                stretch.ended_at = at


class _Answer(Struct):
    """``timer_fired``, ``child_finished``, ``signal_received``, ``stub_answered``."""

    n: int
    seq: int


class _Arrived(Struct):
    """What an inbox row may hold; a signal has a value, a child or a stub an outcome."""

    ok: Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET
    value: Raw | UnsetType = UNSET


def _answer(call: Call, event: Event, ok: Raw | UnsetType, error: Failure | UnsetType) -> None:
    call.told_version, call.told_at = event.version, event.at
    call.value, call.error = _bytes(ok), _error(error)
    call.outcome = Outcome.OK if call.error is None else Outcome.ERROR


def _bytes(value: Raw | UnsetType) -> bytes | None:
    return None if value is UNSET else bytes(value)


def _error(error: Failure | UnsetType) -> Failure | None:
    return None if error is UNSET else error


_STEPS: Final[Mapping[str, Callable[[_Reader, Event, Any], None]]] = {
    "created": _Reader.created,
    "intended": _Reader.intended,
    "attempt_started": _Reader.attempt_started,
    "attempt_failed": _Reader.attempt_failed,
    "returned": _Reader.returned,
    "timer_set": _Reader.timer_set,
    "timer_fired": _Reader.answered,
    "child_created": _Reader.child_created,
    "child_finished": _Reader.answered,
    "signal_awaited": _Reader.signal_awaited,
    "signal_received": _Reader.answered,
    "stub_requested": _Reader.stub_requested,
    "stub_answered": _Reader.answered,
    "scheduled": _Reader.scheduled,
    "cancelled": _Reader.cancelled,
    "paused": _Reader.paused,
    "unpaused": _Reader.unpaused,
    "parked": _Reader.parked,
    "resumed": _Reader.resumed,
    "cancel_requested": _Reader.cancel_requested,
    "upgraded": _Reader.upgraded,
    "patched": _Reader.patched,
    "finished": _Reader.finished,
}
