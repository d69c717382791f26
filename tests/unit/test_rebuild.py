"""What follows from a log, and how a table that says otherwise is told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.ports import InboxItem, Result, State, StateRow
from obelisk_ops.core.rebuild import differences, rebuild

EMPTY = Raw(b"[]")
CREATED = events.Created(fn="m.f", input=EMPTY)
LIMITED = events.Created(fn="m.f", input=EMPTY, timeout=60)
EARLY = events.Created(fn="m.f", input=EMPTY, start_at=500)
ACTIVITY = events.Intended(n=1, fn="m.a", input=EMPTY, attempt=1)
TIMER = events.TimerSet(n=1, wait=5, until=105)
PATIENT = events.SignalAwaited(n=1, name="go", wait=9, until=109)
ENDLESS = events.SignalAwaited(n=1, name="go")
CANCEL = events.CancelRequested()
LATE = events.CancelRequested(reason="timeout")
ERROR = events.Failure(type="E", message="no")

LOGS: list[tuple[list[Body], State, dict[int, int]]] = [
    ([CREATED], State.PENDING, {}),
    ([EARLY], State.PENDING, {-1: 500}),
    ([EARLY, TIMER], State.BLOCKED, {1: 105}),
    ([CREATED, ACTIVITY], State.RUNNING, {}),
    ([CREATED, TIMER], State.BLOCKED, {1: 105}),
    ([CREATED, TIMER, events.TimerFired(n=1, seq=1)], State.BLOCKED, {}),
    ([CREATED, TIMER, events.Cancelled(n=1)], State.BLOCKED, {}),
    ([CREATED, PATIENT], State.BLOCKED, {1: 109}),
    ([CREATED, ENDLESS], State.BLOCKED, {}),
    ([LIMITED, TIMER], State.BLOCKED, {0: 161, 1: 105}),
    ([LIMITED], State.PENDING, {}),
    ([LIMITED, TIMER, LATE], State.CANCELLING, {1: 105}),
    ([CREATED, TIMER, CANCEL], State.CANCELLING, {1: 105}),
    ([CREATED, TIMER, events.Paused()], State.PAUSED, {1: 105}),
    ([CREATED, TIMER, CANCEL, events.Paused()], State.PAUSED, {1: 105}),
    ([CREATED, TIMER, events.Paused(), events.Unpaused()], State.BLOCKED, {1: 105}),
    ([events.Created(fn="m.f", input=EMPTY, paused=True)], State.PAUSED, {}),
    ([CREATED, TIMER, events.Parked(error=ERROR)], State.PARKED, {1: 105}),
    ([CREATED, TIMER, events.Finished(ok=EMPTY)], State.FINISHED, {}),
]


def log_of(*bodies: Body) -> list[Event]:
    return [
        Event(version, 100 + version, KINDS[type(body)], events.encode(body))
        for version, body in enumerate(bodies)
    ]


@pytest.mark.parametrize(("bodies", "state", "timers"), LOGS, ids=lambda v: None)
def test_state_and_timers(bodies: list[Body], state: State, timers: dict[int, int]) -> None:
    found = rebuild(log_of(*bodies), {})

    assert (found.state, found.timers) == (state, timers)


@pytest.mark.parametrize(
    ("end", "result", "error"),
    [
        (events.Finished(ok=EMPTY), Result.OK, None),
        (events.Finished(continued="next"), Result.OK, None),
        (events.Finished(error=ERROR), Result.ERROR, "E: no"),
        (events.Finished(error=ERROR, result="cancelled"), Result.CANCELLED, "E: no"),
        (events.Finished(error=ERROR, result="timed_out"), Result.TIMED_OUT, "E: no"),
    ],
)
def test_ends(end: events.Finished, result: Result, error: str | None) -> None:
    found = rebuild(log_of(CREATED, end), {})

    assert (found.result, found.error, found.finished_at) == (result, error, 101)


def row(**changed: Any) -> StateRow:
    known: dict[str, Any] = {
        "key": 1,
        "id": "e",
        "function": "m.f",
        "state": State.BLOCKED,
        "created_at": 100,
    }
    return StateRow(**known | changed)


BLOCKED = log_of(CREATED, TIMER)
FIRED = log_of(CREATED, TIMER, events.TimerFired(n=1, seq=1))
WAITING = log_of(CREATED, ENDLESS)
ASIDE = log_of(CREATED, ENDLESS, events.SetAside(n=1, seq=1, error="no int"))
TOLD = log_of(*[CREATED] * 3, events.SignalReceived(n=1, seq=1))[3:]
RING = InboxItem("timer", 1, 102, "{}")
SIGNAL = InboxItem("signal", 0, 102, '{"name":"go","value":1}')


@pytest.mark.parametrize(
    ("stored", "log", "inbox", "timers", "told"),
    [
        (row(), BLOCKED, {}, {1: 105}, []),
        (row(), FIRED, {1: RING}, {}, []),
        (row(), BLOCKED, {1: SIGNAL}, {1: 105}, []),  # nobody waits for it
        (row(), WAITING[:1], {}, {}, []),  # its code waits without a call
        (row(state=State.PENDING), WAITING, {1: SIGNAL}, {}, []),
        (row(state=State.PENDING), BLOCKED, {1: SIGNAL}, {1: 105}, []),  # to be looked at
        (row(), WAITING, {1: SIGNAL}, {}, ["waits for inbox row 1, which is there"]),
        (row(), ASIDE, {1: SIGNAL}, {}, []),
        (row(), [*ASIDE, *TOLD], {1: SIGNAL}, {}, ["inbox row 1 was told twice"]),
        (row(), [], {}, {}, ["it has no log"]),
        (row(state=State.PENDING), BLOCKED, {}, {1: 105}, ["its state is pending"]),
        (row(state=State.RUNNING), BLOCKED, {}, {1: 105}, ["its state is running"]),
        (row(error="x"), BLOCKED, {}, {1: 105}, ["its error is x"]),
        (row(), BLOCKED, {}, {}, ["timer 1 is due None, its log says 105"]),
        (row(), BLOCKED, {}, {1: 105, 2: 7}, ["timer 2 is due 7, its log says None"]),
        (row(), FIRED, {}, {}, ["its log names inbox row 1, which is not there"]),
        (row(), FIRED, {1: SIGNAL}, {}, ["inbox row 1 is signal 0, its log says timer 1"]),
        (row(), FIRED, {2: RING}, {}, ["the seqs of its inbox", "names inbox row 1"]),
        (row(), BLOCKED[:1] + BLOCKED, {}, {1: 105}, ["its versions are not 0 to 2"]),
    ],
)
def test_differences(
    stored: StateRow, log: list[Event], inbox: dict[int, InboxItem], timers: dict[int, int],
    told: list[str],
) -> None:  # fmt: skip
    found = differences(stored, log, inbox, timers)

    assert len(found) == len(told), found
    assert all(part in text for part, text in zip(told, found, strict=True))


def test_a_deadline_may_have_passed_while_it_was_cancelled() -> None:
    log = log_of(LIMITED, ENDLESS, CANCEL)

    assert differences(row(state=State.CANCELLING), log, {}, {}) == []
    assert differences(row(state=State.CANCELLING), log, {}, {0: 161}) == []
