"""What reached an execution is taken in the order of arrival, as far as code waits for it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from obelisk_ops.core.ports import InboxItem
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.flow.promise import Promise
from obelisk_ops.durable.inbox import Inbox


def signal(name: str, value: int = 0, signal_id: str = "") -> InboxItem:
    return InboxItem(
        "signal", 0, 0, json.dumps({"name": name, "value": value, "id": signal_id})
    )


def answer(kind: str, n: int) -> InboxItem:
    return InboxItem(kind, n, 0, '{"ok":1}')


def calls(*numbers: int) -> dict[int, Pending]:
    return {n: Pending(Promise()) for n in numbers}


def taken(
    inbox: Inbox, pending: dict[int, Pending], listening: dict[int, str]
) -> list[tuple[int, int]]:
    """Take all, as code would that asks for nothing more: seq and call."""
    found = []
    while (one := inbox.take(pending, listening)) is not None:
        found.append(one[:2])
        pending.pop(one[1])
        listening.pop(one[1], None)
    return found


def filled(*items: InboxItem) -> Inbox:
    inbox = Inbox()
    for item in items:
        inbox.add(item)
    return inbox


def test_signals_and_answers_come_in_the_order_of_arrival() -> None:
    inbox = filled(signal("a"), answer("stub", 4), signal("b"), answer("child", 3), signal("a"))

    wanted = {5: "b", 6: "a", 7: "a"}
    assert taken(inbox, calls(3, 4, 5, 6, 7), wanted) == [
        (1, 6),
        (2, 4),
        (3, 5),
        (4, 3),
        (5, 7),
    ]


def test_what_nobody_wants_yet_is_kept_and_what_nobody_will_want_is_not() -> None:
    inbox = filled(signal("later"), answer("stub", 1), signal("now"), answer("result", 2))

    assert taken(inbox, calls(2, 3), {3: "now"}) == [(3, 3), (4, 2)]
    assert inbox.answer("stub", 1) is None  # the call was cancelled
    assert taken(inbox, calls(9), {9: "later"}) == [(1, 9)]


def test_of_those_who_wait_for_one_name_the_first_is_told_first() -> None:
    inbox = filled(signal("a"), signal("a"))

    assert taken(inbox, calls(2, 5, 8), {2: "a", 5: "a", 8: "a"}) == [(1, 2), (2, 5)]


@dataclass
class Told:
    pending: dict[int, Pending]
    signals_taken: set[int]
    aside: set[int]


def test_a_loaded_inbox_goes_on_where_it_was() -> None:
    items = {
        1: signal("a", 1, "x"), 2: answer("timer", 7), 3: signal("b", 2),
        4: signal("a", 3, "y"), 5: answer("child", 2), 6: answer("child", 3),
        7: signal("a", 4, "z"), 8: answer("stub", 3),
    }  # fmt: skip
    inbox = Inbox()
    inbox.load(items, Told(pending=calls(3), signals_taken={1}, aside={7, 8}))

    assert inbox.last_seq == 8
    assert inbox.has_signal("x")  # it was received, and counts
    assert not inbox.has_signal("")
    assert not inbox.has_signal("z")  # it was set aside, and may be sent again
    assert [(one.name, bytes(one.value)) for one in inbox.signals()] == [
        ("b", b"2"),
        ("a", b"3"),
    ]
    assert taken(inbox, calls(3, 4), {4: "a"}) == [(4, 4), (6, 3)]


def test_ten_thousand_signals_that_wait_are_looked_at_once() -> None:
    inbox = Inbox()
    pending, listening = calls(1, 2), {1: "go"}
    looked: list[int] = []

    class Seen(str):
        __slots__ = ()

        def __hash__(self) -> int:
            looked.append(1)
            return super().__hash__()

    listening[1] = Seen("go")
    for n in range(10_000):
        inbox.add(signal("later", n))
        assert inbox.take(pending, listening) is None

    assert len(looked) == 10_000  # one question each, however many wait
