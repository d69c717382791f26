"""The determinism check, kind by kind: what counts as the same, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops.core.events import (
    COMMANDS,
    KINDS,
    Cancelled,
    ChildCancel,
    ChildCreated,
    Event,
    Failure,
    Finished,
    Intended,
    Patched,
    Returned,
    Scheduled,
    SignalAwaited,
    StubRequested,
    TimerSet,
    encode,
)
from obelisk_ops.durable.flow.compare import describe, does_not_fit, same

ONE, OTHER, SPACED = Raw(b'["a",1]'), Raw(b'["a",2]'), Raw(b'[ "a", 1 ]')


def failure(message: str, trace: str = "") -> Failure:
    return Failure(type="ValueError", message=message, traceback=trace)


DIFFERENT: list[tuple[Any, Any]] = [
    (Intended(n=1, fn="m.f", input=ONE), Intended(n=2, fn="m.f", input=ONE)),
    (Intended(n=1, fn="m.f", input=ONE), Intended(n=1, fn="m.g", input=ONE)),
    (Intended(n=1, fn="m.f", input=ONE), Intended(n=1, fn="m.f", input=OTHER)),
    (Intended(n=1, fn="m.f", input=ONE), Intended(n=1, fn="m.f", input=ONE, set="s")),
    (ChildCreated(n=1, id="e/1", fn="m.f", input=ONE),
     ChildCreated(n=1, id="e/1", fn="m.g", input=ONE)),
    (ChildCreated(n=1, id="e/1", fn="m.f", input=ONE),
     ChildCreated(n=1, id="e/1", fn="m.f", input=OTHER)),
    (StubRequested(n=1, fn="m.f", input=ONE), StubRequested(n=1, fn="m.f", input=OTHER)),
    (Scheduled(n=1, id="e/1", fn="m.f", input=ONE),
     Scheduled(n=1, id="e/1", fn="m.f", input=OTHER)),
    (Scheduled(n=1, id="e/1", fn="m.f", input=ONE, wait=5),
     Scheduled(n=1, id="e/1", fn="m.f", input=ONE, wait=6)),
    (Scheduled(n=1, id="e/1", fn="m.f", input=ONE, start_at=5),
     Scheduled(n=1, id="e/1", fn="m.f", input=ONE, start_at=6)),
    (Scheduled(n=1, id="e/1", fn="m.f", input=ONE, start_at=5),
     Scheduled(n=1, id="e/1", fn="m.f", input=ONE, wait=5)),
    (TimerSet(n=1, wait=5, until=9), TimerSet(n=1, wait=6, until=9)),
    (TimerSet(n=1, wait=5, until=9), TimerSet(n=1, wait=5, until=9, set="s")),
    (SignalAwaited(n=1, name="a"), SignalAwaited(n=1, name="b")),
    (SignalAwaited(n=1, name="a"), SignalAwaited(n=1, name="a", wait=5)),
    (Cancelled(n=1), Cancelled(n=2)),
    (ChildCancel(n=1), ChildCancel(n=2)),
    (Patched(name="a"), Patched(name="b")),
    (Finished(ok=ONE), Finished(ok=OTHER)),
    (Finished(ok=ONE), Finished(error=failure("no"))),
    (Finished(error=failure("no")), Finished(error=failure("yes"))),
    (Finished(error=failure("no")), Finished(error=failure("no"), result="cancelled")),
    (Finished(continued="e.2"), Finished(ok=ONE)),
]  # fmt: skip

#: what came of a command, and how its JSON is spaced, is no difference
EQUAL: list[tuple[Any, Any]] = [
    (Intended(n=1, fn="m.f", input=ONE, attempt=1), Intended(n=1, fn="m.f", input=SPACED)),
    (ChildCreated(n=1, id="e/1", fn="m.f", input=ONE),
     ChildCreated(n=1, id="e/1", fn="m.f", input=SPACED)),
    (StubRequested(n=1, fn="m.f", input=ONE), StubRequested(n=1, fn="m.f", input=SPACED)),
    (Scheduled(n=1, id="e/1", fn="m.f", input=ONE, wait=5, start_at=9),
     Scheduled(n=1, id="e/1", fn="m.f", input=ONE, wait=5, start_at=7)),
    (TimerSet(n=1, wait=5, until=9), TimerSet(n=1, wait=5, until=7)),
    (SignalAwaited(n=1, name="a", wait=5, until=9), SignalAwaited(n=1, name="a", wait=5)),
    (Cancelled(n=1), Cancelled(n=1)),
    (ChildCancel(n=1), ChildCancel(n=1)),
    (Patched(name="a"), Patched(name="a")),
    (Finished(ok=ONE), Finished(ok=SPACED)),
    (Finished(error=failure("no", "line 7")), Finished(error=failure("no", "line 8"))),
]  # fmt: skip

WORDS: list[tuple[Any, str]] = [
    (Intended(n=1, fn="m.f", input=ONE), 'call 1, activity m.f("a",1)'),
    (Intended(n=1, fn="m.f", input=ONE, set="s"),
     "call 1, activity m.f(\"a\",1) in join set 's'"),
    (ChildCreated(n=2, id="e/2", fn="m.f", input=ONE), 'call 2, child workflow m.f("a",1)'),
    (StubRequested(n=2, fn="m.f", input=ONE), 'call 2, stub m.f("a",1)'),
    (Scheduled(n=2, id="x", fn="m.f", input=ONE), 'call 2, scheduling m.f("a",1)'),
    (Scheduled(n=2, id="x", fn="m.f", input=ONE, wait=1500),
     'call 2, scheduling m.f("a",1) after 1.5 s'),
    (TimerSet(n=3, wait=60_000, until=0), "call 3, sleep of 60 s"),
    (SignalAwaited(n=3, name="go"), "call 3, signal 'go'"),
    (SignalAwaited(n=3, name="go", wait=500), "call 3, signal 'go', for 0.5 s"),
    (Cancelled(n=3), "the cancelling of call 3"),
    (ChildCancel(n=3), "the cancelling of call 3"),
    (Patched(name="fees"), "the mark of patched('fees')"),
    (Finished(ok=ONE), 'the end of the workflow with ["a",1]'),
    (Finished(error=failure("no")), "the end of the workflow by ValueError: no"),
    (Finished(continued="e.2"), "the end of the workflow, to continue as new"),
    (Returned(n=3, ok=ONE), "'returned' of call 3"),
]  # fmt: skip


@pytest.mark.parametrize(("recorded", "wanted"), DIFFERENT)
def test_another_intention_is_another_command(recorded: Any, wanted: Any) -> None:
    assert same(recorded, recorded)
    assert not same(recorded, wanted)
    assert not same(wanted, recorded)


@pytest.mark.parametrize(("recorded", "wanted"), EQUAL)
def test_what_came_of_it_is_no_difference(recorded: Any, wanted: Any) -> None:
    assert same(recorded, wanted)


@pytest.mark.parametrize("pairs", [DIFFERENT, EQUAL], ids=["different", "equal"])
def test_every_kind_of_command_is_compared(pairs: list[tuple[Any, Any]]) -> None:
    assert {KINDS[type(recorded)] for recorded, _ in pairs} == COMMANDS


@pytest.mark.parametrize(("body", "words"), WORDS)
def test_it_is_said_in_words(body: Any, words: str) -> None:
    assert describe(body) == words


def test_every_kind_of_command_has_words() -> None:
    assert {KINDS[type(body)] for body, _ in WORDS} >= COMMANDS


def test_a_long_argument_is_cut() -> None:
    long = Intended(n=1, fn="m.f", input=Raw(b'["' + b"x" * 999 + b'"]'))

    assert len(describe(long)) < 250


def test_the_error_names_the_place_both_calls_and_the_ways_out() -> None:
    body = Intended(n=3, fn="shop.charge", input=ONE)
    event = Event(7, 0, "intended", encode(body))

    error = does_not_fit("e", event, body, "asks for the end of the workflow")

    assert error.message == (
        "execution 'e': at version 7 the log has call 3, activity shop.charge(\"a\",1), "
        "but the code asks for the end of the workflow"
    )
    for way_out in ("undo the change", 'patched("name")', "fork e --from-version 7"):
        assert way_out in error.hint
