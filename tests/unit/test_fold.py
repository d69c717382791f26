"""The story that a log tells, also a log that is cut short."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from obelisk_ops.core.events import BODIES, COMMANDS, KINDS, RESPONSES, Event, decode, encode
from obelisk_ops.core.fold import fold, last_told

ERROR = {"type": "E", "message": "no"}

CREATED: tuple[str, dict[str, Any]] = ("created", {"fn": "m.f", "in": [1]})
INTENDED = ("intended", {"n": 1, "fn": "m.a", "in": [2]})
STARTED_AT_ONCE = ("intended", {"n": 1, "fn": "m.a", "in": [2], "try": 1})
FAILED = ("attempt_failed", {"n": 1, "try": 1, "error": ERROR, "retry_at": 99})

LOGS: list[tuple[list[Any], dict[str, Any]]] = [
    # events after `created`                                   what is told of call 1
    ([INTENDED], {"attempts": 0, "is_in_flight": False}),
    ([STARTED_AT_ONCE], {"attempts": 1, "is_in_flight": True, "started_at": 1}),
    (
        [STARTED_AT_ONCE, FAILED],
        {"attempts": 1, "is_in_flight": False, "retry_at": 99, "error": ERROR},
    ),
    (
        [STARTED_AT_ONCE, FAILED, ("attempt_started", {"n": 1, "try": 2})],
        {"attempts": 2, "is_in_flight": True, "retry_at": None},
    ),
    (
        [STARTED_AT_ONCE, ("returned", {"n": 1, "ok": 3})],
        {"outcome": "ok", "is_in_flight": False},
    ),
    (
        [STARTED_AT_ONCE, ("returned", {"n": 1, "error": ERROR})],
        {"outcome": "error", "error": ERROR},
    ),
    ([INTENDED, ("cancelled", {"n": 1})], {"outcome": "cancelled"}),
    (
        [("timer_set", {"n": 1, "wait": 5, "until": 7})],
        {"kind": "timer", "due": 7, "outcome": None},
    ),
    (
        [("timer_set", {"n": 1, "wait": 5, "until": 7}), ("timer_fired", {"n": 1, "seq": 1})],
        {"outcome": "ok"},
    ),
    (
        [("child_created", {"n": 1, "id": "e/1", "fn": "m.g", "in": []})],
        {"kind": "child", "function": "m.g", "outcome": None},
    ),
    (
        [
            ("child_created", {"n": 1, "id": "e/1", "fn": "m.g", "in": []}),
            ("child_finished", {"n": 1, "seq": 1}),
        ],
        {"outcome": "ok"},
    ),
    (
        [("signal_awaited", {"n": 1, "name": "go", "wait": 5, "until": 7})],
        {"kind": "signal", "function": "go", "due": 7, "outcome": None},
    ),
    (
        [("signal_awaited", {"n": 1, "name": "go"}), ("signal_received", {"n": 1, "seq": 1})],
        {"outcome": "ok"},
    ),
    (
        [
            ("signal_awaited", {"n": 1, "name": "go"}),
            ("set_aside", {"n": 1, "seq": 1, "error": "no int"}),
        ],
        {"outcome": None, "aside": "no int"},
    ),
    (
        [("stub_requested", {"n": 1, "fn": "m.s", "in": []})],
        {"kind": "stub", "function": "m.s", "outcome": None},
    ),
    (
        [
            ("stub_requested", {"n": 1, "fn": "m.s", "in": []}),
            ("stub_answered", {"n": 1, "seq": 1}),
        ],
        {"outcome": "ok"},
    ),
    (
        [("scheduled", {"n": 1, "id": "e/1", "fn": "m.g", "in": []})],
        {"kind": "scheduled", "function": "m.g", "outcome": "ok"},
    ),
]


def log(*given: tuple[str, dict[str, Any]]) -> list[Event]:
    return [
        Event(version, version, kind, msgspec.json.encode(body).decode())
        for version, (kind, body) in enumerate(given)
    ]


@pytest.mark.parametrize(("given", "told"), LOGS)
def test_what_is_told_of_a_call(given: list[Any], told: dict[str, Any]) -> None:
    call = fold(log(CREATED, *given)).calls[1]

    assert {name: getattr(call, name) for name in told} == told


def test_the_end_is_told() -> None:
    going_on = fold(log(CREATED))
    good = fold(log(CREATED, ("finished", {"ok": {"a": 1}})))
    bad = fold(log(CREATED, ("finished", {"error": ERROR})))

    assert (going_on.input, going_on.has_ended) == ([1], False)
    assert (good.value, good.error, good.has_ended) == ({"a": 1}, None, True)
    assert (bad.value, bad.error, bad.has_ended) == (None, ERROR, True)


def test_kinds_of_a_later_version_are_passed_over() -> None:
    assert fold(log(CREATED, ("invented_later", {"n": 1}))).input == [1]


def test_every_kind_is_written_and_read() -> None:
    assert set(BODIES) > COMMANDS | RESPONSES
    assert not COMMANDS & RESPONSES
    assert {KINDS[shape] for shape in BODIES.values()} == set(BODIES)


@pytest.mark.parametrize(
    "event", log(*[entry for given, _ in LOGS for entry in given]), ids=str
)
def test_what_is_on_disk_reads_and_writes_the_same(event: Event) -> None:
    assert msgspec.json.decode(encode(decode(event))) == msgspec.json.decode(event.body)


PARKED = ("parked", {"error": ERROR})
RESUMED: tuple[str, dict[str, Any]] = ("resumed", {})
CANCELLED = ("finished", {"error": ERROR, "result": "cancelled"})


@pytest.mark.parametrize(
    ("events", "version"),
    [
        ([CANCELLED], 0),
        ([("paused", {}), CANCELLED], 0),
        ([INTENDED], None),
        ([INTENDED, CANCELLED], None),
        ([INTENDED, PARKED], None),
        ([INTENDED, PARKED, CANCELLED], 2),
        ([INTENDED, PARKED, ("cancel_requested", {}), CANCELLED], 2),
        ([INTENDED, PARKED, RESUMED, CANCELLED], None),
        ([INTENDED, PARKED, RESUMED, PARKED, CANCELLED], 4),
        ([INTENDED, PARKED, RESUMED, ("finished", {"ok": 1})], None),
    ],
)
def test_whose_end_it_is(events: list[Any], version: int | None) -> None:
    log = [
        Event(n, n, kind, msgspec.json.encode(body).decode())
        for n, (kind, body) in enumerate([CREATED, *events])
    ]

    assert last_told(log) == version
