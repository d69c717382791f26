"""What may be asked of an execution, and when it is news."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.facts import facts_from
from obelisk_ops.core.ports import InboxItem, Letter, State
from obelisk_ops.core.requests import Facts, is_news, split_call
from obelisk_ops.errors import (
    AlreadyAnswered,
    Conflict,
    ExecutionEnded,
    ExecutionExists,
    ExecutionNotFound,
    NotCancellable,
    OpsError,
    StubNotFound,
)

CREATED = '{"fn":"m.f","in":[1]}'
SIGNAL = '{"name":"go","value":1,"id":"s1"}'
ANSWER = '{"ok":{"a":1,"b":2}}'
SAME_ANSWER = '{"ok":{"b":2,"a":1}}'
FAILED = '{"error":{"type":"E","message":"no","traceback":"here"}}'


def letter(kind: str, target: str = "e", body: str = "{}") -> Letter:
    return Letter(id=1, at=1, kind=kind, target=target, body=body)


NOBODY = Facts()
RUNS = Facts(state=State.RUNNING, created=CREATED)
ENDED = Facts(state=State.FINISHED, created=CREATED)
PAUSED = Facts(state=State.PAUSED, is_paused=True)
MOVED = Facts(state=State.PAUSED, is_paused=True, is_moved=True, stubs=frozenset({3}))
SEAL, TAKE_BACK = '{"moved":true}', '{"take_back":true}'
UNBEGUN = Facts(state=State.PENDING, created=CREATED, letters=[letter("create", body=CREATED)])
STUB = Facts(state=State.BLOCKED, stubs=frozenset({3}))
ANSWERED = Facts(state=State.FINISHED, stubs=frozenset({3}), answers={3: ANSWER})


def asked(facts: Facts, *letters: Letter) -> Facts:
    return replace(facts, letters=letters)


@pytest.mark.parametrize(
    ("kind", "target", "body", "facts", "expected"),
    [
        ("create", "e", CREATED, NOBODY, True),
        ("create", "e", '{"fn":"m.f","in":[ 1 ],"paused":true}', RUNS, False),
        ("create", "e", CREATED, UNBEGUN, False),
        ("create", "e", CREATED, ENDED, False),
        ("create", "e", '{"fn":"m.f","in":[2]}', UNBEGUN, ExecutionExists),
        ("create", "e", '{"fn":"m.g","in":[1]}', RUNS, ExecutionExists),
        ("create", "e", CREATED, Facts(state=State.PENDING), ExecutionExists),
        ("fork", "e", "{}", NOBODY, True),
        ("fork", "e", "{}", RUNS, ExecutionExists),
        ("fork", "e", "{}", UNBEGUN, ExecutionExists),
        ("cancel", "e", "{}", NOBODY, ExecutionNotFound),
        ("cancel", "e", "{}", RUNS, True),
        ("cancel", "e", "{}", UNBEGUN, True),
        ("cancel", "e", "{}", PAUSED, True),
        ("cancel", "e", "{}", ENDED, ExecutionEnded),
        ("cancel", "e", "{}", Facts(state=State.RUNNING, is_cancelling=True), False),
        ("cancel", "e", "{}", asked(RUNS, letter("cancel")), False),
        (
            "cancel", "e", "{}", Facts(state=State.RUNNING, is_cancellable=False),
            NotCancellable,
        ),
        ("pause", "e", "{}", NOBODY, ExecutionNotFound),
        ("pause", "e", "{}", RUNS, True),
        ("pause", "e", "{}", UNBEGUN, True),
        ("pause", "e", "{}", PAUSED, False),
        ("pause", "e", "{}", asked(PAUSED, letter("unpause")), True),
        ("pause", "e", "{}", asked(RUNS, letter("pause"), letter("cancel")), Conflict),
        ("pause", "e", "{}", ENDED, ExecutionEnded),
        ("unpause", "e", "{}", NOBODY, ExecutionNotFound),
        ("unpause", "e", "{}", RUNS, False),
        ("unpause", "e", "{}", PAUSED, True),
        ("unpause", "e", "{}", asked(RUNS, letter("pause")), True),
        ("unpause", "e", "{}", ENDED, ExecutionEnded),
        ("signal", "e", SIGNAL, NOBODY, ExecutionNotFound),
        ("signal", "e", SIGNAL, RUNS, True),
        ("signal", "e", SIGNAL, PAUSED, True),
        ("signal", "e", SIGNAL, UNBEGUN, True),
        ("signal", "e", SIGNAL, ENDED, ExecutionEnded),
        (
            "signal", "e", SIGNAL, Facts(state=State.RUNNING, signals=frozenset({"s1"})),
            False,
        ),
        (
            "signal", "e", SIGNAL, Facts(state=State.FINISHED, signals=frozenset({"s1"})),
            False,
        ),
        ("signal", "e", SIGNAL, asked(RUNS, letter("signal", body=SIGNAL)), False),
        (
            "signal", "e", '{"name":"go","value":1}',
            asked(RUNS, letter("signal", body='{"name":"go","value":1}')), True,
        ),
        ("stub", "e/3", ANSWER, NOBODY, ExecutionNotFound),
        ("stub", "e", ANSWER, STUB, StubNotFound),
        ("stub", "e/x", ANSWER, STUB, StubNotFound),
        ("stub", "e/4", ANSWER, STUB, StubNotFound),
        ("stub", "e/3", ANSWER, UNBEGUN, StubNotFound),
        ("stub", "e/3", ANSWER, STUB, True),
        ("stub", "e/3", SAME_ANSWER, ANSWERED, False),
        ("stub", "e/3", '{"ok":{"a":1,"b":3}}', ANSWERED, AlreadyAnswered),
        ("stub", "e/3", FAILED, ANSWERED, AlreadyAnswered),
        ("stub", "e/3", ANSWER, asked(STUB, letter("stub", "e/3", ANSWER)), False),
        ("stub", "e/3", FAILED, asked(STUB, letter("stub", "e/3", ANSWER)), AlreadyAnswered),
        ("stub", "e/3", ANSWER, asked(STUB, letter("stub", "e/4", FAILED)), True),
        (
            "stub", "e/3", '{"error":{"type":"E","message":"no"}}',
            asked(STUB, letter("stub", "e/3", FAILED)), False,
        ),
        (
            "stub", "e/3", '{"ok":true}', asked(STUB, letter("stub", "e/3", '{"ok":1}')),
            AlreadyAnswered,
        ),
        (
            "stub", "e/3", '{"ok":null}', asked(STUB, letter("stub", "e/3", '{"ok":null}')),
            False,
        ),
        (
            "stub", "e/3", ANSWER,
            Facts(state=State.RUNNING, stubs=frozenset({3}), cancelled=frozenset({3})),
            AlreadyAnswered,
        ),
        ("stub", "e/3", ANSWER, Facts(state=State.FINISHED, stubs=frozenset({3})),
         ExecutionEnded),
        ("pause", "e", SEAL, RUNS, True),
        ("pause", "e", SEAL, PAUSED, True),
        ("pause", "e", SEAL, MOVED, False),
        ("pause", "e", SEAL, asked(RUNS, letter("pause", body=SEAL)), False),
        ("unpause", "e", "{}", MOVED, Conflict),
        ("unpause", "e", "{}", asked(RUNS, letter("pause", body=SEAL)), Conflict),
        ("unpause", "e", TAKE_BACK, MOVED, True),
        ("unpause", "e", "{}", asked(MOVED, letter("unpause", body=TAKE_BACK)), False),
        ("cancel", "e", "{}", MOVED, Conflict),
        ("signal", "e", SIGNAL, MOVED, Conflict),
        ("stub", "e/3", ANSWER, MOVED, Conflict),
        ("of a later version", "e", "{}", NOBODY, True),
    ],
)  # fmt: skip
def test_a_request(kind: str, target: str, body: str, facts: Facts, expected: Any) -> None:
    if isinstance(expected, bool):
        assert is_news(kind, target, body, facts) is expected
    else:
        with pytest.raises(OpsError) as caught:
            is_news(kind, target, body, facts)
        assert type(caught.value) is expected


def log(*bodies: Body) -> list[Event]:
    return [Event(v, v, KINDS[type(b)], events.encode(b)) for v, b in enumerate(bodies)]


def test_facts_are_taken_from_a_log_and_an_inbox() -> None:
    given = msgspec.Raw(b"[]")
    told: dict[str, Any] = {"fn": "m.s", "input": given}
    facts = facts_from(
        State.BLOCKED,
        log(
            events.Created(fn="m.f", input=given, paused=True),
            events.Unpaused(),
            events.StubRequested(n=1, **told),
            events.StubRequested(n=2, **told),
            events.Cancelled(n=2),
            events.Paused(),
            events.CancelRequested(),
        ),
        [
            InboxItem("signal", 0, 5, SIGNAL),
            InboxItem("stub", 1, 6, ANSWER),
            InboxItem("timer", 9, 6, "{}"),
        ],
        [],
    )

    assert (facts.is_paused, facts.is_cancelling) == (True, True)
    assert (set(facts.stubs), set(facts.cancelled)) == ({1, 2}, {2})
    assert (set(facts.signals), dict(facts.answers)) == ({"s1"}, {1: ANSWER})


@pytest.mark.parametrize(
    ("call_id", "parts"), [("e/3", ("e", 3)), ("e/3/12", ("e/3", 12)), ("a.b/0", ("a.b", 0))]
)
def test_a_call_belongs_to_an_execution(call_id: str, parts: tuple[str, int]) -> None:
    assert split_call(call_id) == parts
