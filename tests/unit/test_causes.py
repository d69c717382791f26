"""What has no cause in a log is told: a response to nothing, twice, or of another kind."""

from __future__ import annotations

import pytest
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.causes import unfounded, unhappened
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.ports import InboxItem, State, StateRow

EMPTY = Raw(b"[]")
CREATED = events.Created(fn="m.f", input=EMPTY)
ACTIVITY = events.Intended(n=1, fn="m.a", input=EMPTY, attempt=1)
RETURNED = events.Returned(n=1, ok=EMPTY)
TIMER = events.TimerSet(n=2, wait=5, until=105)
FIRED = events.TimerFired(n=2, seq=1)
CHILD = events.ChildCreated(n=3, id="p/3", fn="m.c", input=EMPTY)
ENDED = events.ChildFinished(n=3, seq=1)
FINISHED = events.Finished(ok=EMPTY)


def log_of(*bodies: Body) -> list[Event]:
    return [
        Event(version, 100 + version, KINDS[type(body)], events.encode(body))
        for version, body in enumerate(bodies)
    ]


SOUND: list[list[Body]] = [
    [CREATED],
    [CREATED, ACTIVITY, events.AttemptStarted(n=1, attempt=2), RETURNED, FINISHED],
    [CREATED, TIMER, FIRED],
    [CREATED, events.SignalAwaited(n=2, name="go", wait=5, until=9), FIRED],
    [CREATED, TIMER, events.Cancelled(n=2)],
    [CREATED, CHILD, events.ChildCancel(n=3), ENDED],
]
UNSOUND: list[tuple[list[Body], str]] = [
    ([ACTIVITY], "it does not begin with its creation"),
    ([CREATED, RETURNED], "version 1, 'returned', is of no open activity: 1"),
    ([CREATED, ACTIVITY, RETURNED, RETURNED], "version 3, 'returned', is of no open activity"),
    ([CREATED, ACTIVITY, ACTIVITY], "version 2, 'intended', makes call 1 a second time"),
    ([CREATED, TIMER, events.Returned(n=2, ok=EMPTY)], "is of no open activity: 2"),
    ([CREATED, ACTIVITY, FIRED], "version 2, 'timer_fired', is of no open timer: 2"),
    ([CREATED, events.Cancelled(n=2)], "is of no open call: 2"),
    ([CREATED, TIMER, events.Cancelled(n=2), FIRED], "is of no open timer: 2"),
    ([CREATED, FINISHED, ACTIVITY], "it goes on behind its end"),
]


@pytest.mark.parametrize("bodies", SOUND)
def test_what_has_its_causes(bodies: list[Body]) -> None:
    assert list(unfounded(log_of(*bodies))) == []


@pytest.mark.parametrize(("bodies", "said"), UNSOUND)
def test_what_has_not(bodies: list[Body], said: str) -> None:
    [found] = unfounded(log_of(*bodies))
    assert said in found


END = Event(3, 9, "finished", '{"ok":1}')


@pytest.mark.parametrize(
    ("state", "end", "said"),
    [
        (State.RUNNING, END, None),
        (State.RUNNING, None, "there is no child 'p/3'"),
        (State.FINISHED, None, None),  # its family is being pruned
        (State.RUNNING, Event(2, 9, "intended", "{}"), "'p/3' has not ended"),
        (State.RUNNING, Event(3, 9, "finished", '{"ok":2}'), "'p/3' has ended otherwise"),
    ],
)
def test_ends_of_children(state: State, end: Event | None, said: str | None) -> None:
    row = StateRow(key=1, id="p", function="m.f", state=state, created_at=1)
    inbox = {1: InboxItem("child", 3, 9, END.body)}

    found = list(unhappened(row, log_of(CREATED, CHILD, ENDED), inbox, {"p/3": end}.get))

    assert [text.partition(": ")[2] for text in found] == (
        [] if said is None else [said if said.startswith("there") else f"the child {said}"]
    )
