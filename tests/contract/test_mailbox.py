"""What every mailbox promises: letters wait, are answered once, and contradict nothing."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.ports import Letter, LogRow, LogStore, Mailbox, State, StateRow, Write
from obelisk_ops.errors import (
    AlreadyAnswered,
    ExecutionEnded,
    ExecutionExists,
    ExecutionNotFound,
    StubNotFound,
)


def event(key: int, version: int) -> LogRow:
    return (key, version, 5, "returned", "{}")


def row(key: int, name: str, **facts: Any) -> StateRow:
    given: dict[str, Any] = {"function": "m.f", "state": State.RUNNING, "created_at": 1} | facts
    return StateRow(key=key, id=name, **given)


def creation(key: int, name: str, **facts: Any) -> Write:
    return Write(key, [event(key, 0)], created=[row(key, name, **facts)])


def created(function: str = "m.f", given: bytes = b"[1]") -> str:
    return events.encode(events.Created(fn=function, input=Raw(given)))


def test_a_letter_waits_until_it_is_answered(store: LogStore, mailbox: Mailbox) -> None:
    before = store.changes()

    assert mailbox.ask("create", "a", created(), now_ms=5) is True
    assert mailbox.ask("create", "b", created(), now_ms=6) is True

    assert store.changes() != before
    first, second = store.letters(10)
    assert first == Letter(id=first.id, at=5, kind="create", target="a", body=created())
    assert store.letters(1) == [first]
    store.commit([Write(1, [event(1, 0)], created=[row(1, "a")], letters_done=[first.id])])
    assert store.letters(10) == [second]


def test_no_letter_has_the_number_of_one_that_was_answered(
    store: LogStore, mailbox: Mailbox
) -> None:
    """Who waits for the answer to that would be told another one's."""
    mailbox.ask("create", "a", created(), now_ms=5)
    first = mailbox.last_letter
    store.commit([Write(0, [], letters_done=[first])])
    mailbox.ask("create", "b", created(), now_ms=6)

    assert mailbox.last_letter > first


def test_a_refused_write_leaves_its_letter(store: LogStore, mailbox: Mailbox) -> None:
    store.commit([creation(1, "e1")])
    mailbox.ask("create", "a", created(), now_ms=5)
    [letter] = store.letters(10)

    refused = store.commit([Write(1, [event(1, 0)], letters_done=[letter.id])])

    assert list(refused) == [0]
    assert store.letters(10) == [letter]


@pytest.mark.parametrize("answered", ["", "answered"])
def test_the_same_request_attaches(store: LogStore, mailbox: Mailbox, answered: str) -> None:
    mailbox.ask("create", "a", created(), now_ms=5)
    if answered:
        [letter] = store.letters(10)
        first = (1, 0, 5, "created", created())
        store.commit([Write(1, [first], created=[row(1, "a")], letters_done=[letter.id])])

    assert mailbox.ask("create", "a", created(given=b"[ 1 ]"), now_ms=6) is False

    with pytest.raises(ExecutionExists, match="has the input"):
        mailbox.ask("create", "a", created(given=b"[2]"), now_ms=6)
    with pytest.raises(ExecutionExists, match=r"runs m\.f, not m\.g"):
        mailbox.ask("create", "a", created("m.g"), now_ms=6)
    assert len(store.letters(10)) == (0 if answered else 1)


def awaits_a_stub(key: int = 1, name: str = "a") -> Write:
    asked = '{"n":3,"fn":"m.s","in":[]}'
    log = [(key, 0, 5, "created", created()), (key, 1, 5, "stub_requested", asked)]
    return Write(key, log, created=[row(key, name, state=State.BLOCKED)])


SIGNAL = '{"name":"go","value":1,"id":"s1"}'


@pytest.mark.parametrize(
    ("kind", "target", "body"),
    [("cancel", "a", "{}"), ("pause", "a", "{}"), ("signal", "a", SIGNAL),
     ("stub", "a/3", '{"ok":1}')],
)  # fmt: skip
def test_what_is_asked_for_twice_waits_once(
    store: LogStore, mailbox: Mailbox, kind: str, target: str, body: str
) -> None:
    store.commit([awaits_a_stub()])

    assert mailbox.ask(kind, target, body, now_ms=6) is True
    assert mailbox.ask(kind, target, body, now_ms=7) is False

    assert [(one.kind, one.target, one.at) for one in store.letters(9)] == [(kind, target, 6)]
    assert store.letters_to("a") == store.letters(9)


def test_what_contradicts_the_log_leaves_no_letter(store: LogStore, mailbox: Mailbox) -> None:
    arrived = [(1, 1, "signal", 0, 5, SIGNAL), (1, 2, "stub", 3, 5, '{"ok":1}')]
    store.commit([awaits_a_stub(), Write(1, [], inbox=arrived)])
    store.commit([creation(2, "over", state=State.FINISHED)])

    assert mailbox.ask("signal", "a", SIGNAL, now_ms=6) is False
    assert mailbox.ask("stub", "a/3", '{"ok":1}', now_ms=6) is False
    with pytest.raises(AlreadyAnswered):
        mailbox.ask("stub", "a/3", '{"ok":2}', now_ms=6)
    with pytest.raises(StubNotFound):
        mailbox.ask("stub", "a/4", '{"ok":1}', now_ms=6)
    with pytest.raises(ExecutionEnded):
        mailbox.ask("cancel", "over", "{}", now_ms=6)
    with pytest.raises(ExecutionNotFound):
        mailbox.ask("pause", "nobody", "{}", now_ms=6)
    assert store.letters(9) == []


def test_one_that_waits_to_be_begun_can_be_asked(store: LogStore, mailbox: Mailbox) -> None:
    mailbox.ask("create", "a", created(), now_ms=5)

    assert mailbox.ask("signal", "a", SIGNAL, now_ms=6) is True
    assert mailbox.ask("cancel", "a", "{}", now_ms=7) is True

    assert [one.kind for one in store.letters_to("a")] == ["create", "signal", "cancel"]


def test_a_letter_to_a_child_is_not_one_to_its_parent(
    store: LogStore, mailbox: Mailbox
) -> None:
    store.commit([awaits_a_stub(1, "a"), awaits_a_stub(2, "a/3"), awaits_a_stub(3, "a0")])

    assert mailbox.ask("cancel", "a/3", "{}", now_ms=6) is True
    assert mailbox.ask("stub", "a/3/3", '{"ok":1}', now_ms=6) is True
    assert mailbox.ask("cancel", "a", "{}", now_ms=6) is True
    assert mailbox.ask("stub", "a/3", '{"ok":2}', now_ms=6) is True
    assert mailbox.ask("cancel", "a/3", "{}", now_ms=6) is False
    assert store.letters_to("a0") == []


def test_a_refused_letter_is_known_for_a_minute_and_its_number_is_not_given_again(
    store: LogStore, mailbox: Mailbox
) -> None:
    assert mailbox.last_letter == 0
    mailbox.ask("create", "a", created(), now_ms=5)
    first = mailbox.last_letter
    refusal = (first, 6, '{"type":"E","message":"no \u00fc"}')

    store.commit([Write(0, [], letters_done=[first], refusals=[refusal])])
    mailbox.ask("create", "a", created(), now_ms=7)

    assert store.letters(9)[0].id == mailbox.last_letter > first
    kept = mailbox.find_refusal(first)
    assert kept is not None
    number, at, error = kept
    assert (number, error) == (first, refusal[2])
    assert mailbox.find_refusal(first + 1) is None

    # A server has a clock of its own, and does not believe that a minute has passed.
    has_own_clock = at != refusal[1]
    store.commit([Write(0, [], refusals=[(first + 1, at + 60_001, "{}")])])

    assert (mailbox.find_refusal(first) is not None) is has_own_clock
    assert mailbox.find_refusal(first + 1) is not None
