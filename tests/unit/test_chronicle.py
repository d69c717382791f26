"""What happened in a run, and when: told from logs of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.core.chronicle import Attempt, Chronicle, Stretch
from obelisk_ops.core.history import from_json
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.core.telling import tell
from obelisk_ops.errors import VerificationFailed
from tests.runs import BEGIN, ERROR, Step, history, returns

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
INTENDED: Step = (10, "intended", {"n": 1, "fn": "m.a", "in": [2], "try": 1})
WAITS: Step = (10, "intended", {"n": 1, "fn": "m.a", "in": [2], "queue": "gpu"})
FAILED: Step = (20, "attempt_failed", {"n": 1, "try": 1, "error": ERROR, "retry_at": 0})
UNKNOWN = {"type": "obelisk_ops.errors.OutcomeUnknown", "message": "nobody knows"}


def started(at: int, attempt: int, n: int = 1) -> Step:
    return (at, "attempt_started", {"n": n, "try": attempt})


def times(one: Attempt | Stretch) -> tuple[int, int | None]:
    ended = None if one.ended_at is None else one.ended_at - BEGIN
    return one.began_at - BEGIN, ended


ATTEMPTS: list[tuple[list[Step], list[tuple[Any, ...]]]] = [
    # after `created`                      of each attempt: outcome, began, ended
    ([WAITS], []),
    ([INTENDED], [("open", 10, None)]),
    ([WAITS, started(15, 1)], [("open", 15, None)]),
    ([INTENDED, (30, "returned", {"n": 1, "ok": 1})], [("ok", 10, 30)]),
    ([INTENDED, (30, "returned", {"n": 1, "error": ERROR})], [("error", 10, 30)]),
    ([INTENDED, FAILED], [("failed", 10, 20)]),
    ([INTENDED, FAILED, started(40, 2)], [("failed", 10, 20), ("open", 40, None)]),
    ([INTENDED, (30, "cancelled", {"n": 1})], [("cancelled", 10, 30)]),
    # a process died: nobody saw the end, and it cannot be later than the last sign of life
    ([INTENDED, started(90, 2)], [("lost", 10, 10), ("open", 90, None)]),
    (
        [INTENDED, *returns(2, 12, 50, 0), started(90, 2)],
        [("lost", 10, 50), ("open", 90, None)],
    ),
    ([INTENDED, (90, "returned", {"n": 1, "error": UNKNOWN})], [("lost", 10, 10)]),
]


@pytest.mark.parametrize(("steps", "wanted"), ATTEMPTS)
def test_attempts(steps: list[Step], wanted: list[tuple[Any, ...]]) -> None:
    attempts = tell(history(steps)).calls[1].attempts

    assert [(one.outcome, *times(one)) for one in attempts] == wanted


STRETCHES: list[tuple[list[Step], dict[str, Any], list[tuple[Any, ...]]]] = [
    # after `created`, fields of that         rest, began, ended
    ([INTENDED], {}, [("unbegun", 0, 10)]),
    ([(0, *INTENDED[1:])], {}, []),
    ([], {}, [("unbegun", 0, None)]),
    ([], {"paused": True}, [("unbegun", 0, None), ("paused", 0, None)]),
    (
        [INTENDED, (20, "paused", {}), (50, "unpaused", {})],
        {},
        [("unbegun", 0, 10), ("paused", 20, 50)],
    ),
    (
        [INTENDED, (20, "parked", {"error": ERROR}), (50, "finished", {"ok": 1})],
        {},
        [("unbegun", 0, 10), ("parked", 20, 50)],
    ),
    # two calls that one death cut short are one gap, also behind other code
    (
        [INTENDED, (30, "intended", {"n": 2, "fn": "m.a", "in": [], "try": 1}),
         (80, "upgraded", {"digest": "x"}), started(90, 2), started(91, 2, n=2)],
        {},
        [("unbegun", 0, 10), ("died", 30, 91)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "created", "wanted"), STRETCHES)
def test_rests(
    steps: list[Step], created: dict[str, Any], wanted: list[tuple[Any, ...]]
) -> None:
    told = tell(history(steps, **created))

    assert [(one.rest, *times(one)) for one in told.stretches] == wanted


ANSWERS: list[tuple[Step, str, dict[str, Any], tuple[Any, ...]]] = [
    # asked, answered by, what is in the inbox          kind, outcome, value, error
    (
        (1, "timer_set", {"n": 1, "wait": 5, "until": 7}), "timer_fired",
        {}, ("timer", "ok", None, None),
    ),
    (
        (1, "signal_awaited", {"n": 1, "name": "go"}), "signal_received",
        {"name": "go", "value": [1]}, ("signal", "ok", b"[1]", None),
    ),
    (
        (1, "stub_requested", {"n": 1, "fn": "m.s", "in": []}), "stub_answered",
        {"ok": "yes"}, ("stub", "ok", b'"yes"', None),
    ),
    (
        (1, "child_created", {"n": 1, "id": "e/1", "fn": "m.c", "in": []}), "child_finished",
        {"error": ERROR}, ("child", "error", None, ERROR["message"]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "kind", "arrived", "wanted"), ANSWERS)
def test_answers_are_in_the_inbox(
    asked: Step, kind: str, arrived: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    item = InboxItem("any", 1, BEGIN, json.dumps(arrived))
    call = tell(history([asked, (9, kind, {"n": 1, "seq": 1})], inbox={1: item})).calls[1]

    error = call.error.message if call.error else None
    assert (call.kind, call.outcome, call.value, error) == wanted
    assert call.told_at == BEGIN + 9


def test_what_happens_to_all_of_it_is_marked() -> None:
    signal = InboxItem("signal", 0, BEGIN + 5, '{"name":"go","value":1}')
    steps: list[Step] = [
        (3, "patched", {"name": "faster"}),
        (8, "cancel_requested", {"reason": "timeout"}),
    ]

    told = tell(history(steps, inbox={1: signal}))

    assert [(mark.kind, mark.at - BEGIN) for mark in told.marks] == [
        ("patched", 3), ("signal", 5), ("timeout", 8)
    ]  # fmt: skip


def test_an_event_of_a_later_version_is_passed_over() -> None:
    told = tell(history([INTENDED, (20, "enchanted", {"by": "whom"})]))

    assert list(told.calls) == [1]
    assert told.last_version == 2


def test_a_log_that_speaks_of_no_call_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="version 1"):
        tell(history([(1, "returned", {"n": 9, "ok": 1})]))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_recorded_history_is_told(path: Path) -> None:
    recorded = from_json(path.read_text())

    told: Chronicle = tell(recorded)

    assert told.has_ended == (recorded.events[-1].kind == "finished")
    for call in told.calls.values():
        numbers = [attempt.number for attempt in call.attempts]
        assert numbers == list(range(1, len(numbers) + 1))
