"""Which workers are dead, what is adopted, and which row a new one takes."""

from __future__ import annotations

from typing import Any

import pytest

from obelisk_ops.core.routing import Route, route
from obelisk_ops.core.workers import (
    GRACE_MS,
    LOOK_MS,
    TTL_MS,
    Sighting,
    is_dead,
    living,
    next_look_ms,
    to_adopt,
    to_call,
    to_give,
    to_take,
)

LATER = GRACE_MS


def seen(**facts: Any) -> Sighting:
    given: dict[str, Any] = {
        "id": 1, "term": 1, "is_closed": False, "is_empty": False, "is_keeper": False,
        "host": "h", "pid": 7, "lease": "noon", "left_ms": 5000, "up_ms": 10 * TTL_MS,
        "has_renewed": True, "is_connected": True, "is_pooled": False,
        "functions": frozenset(), "seen_ms": 100_000,
    }  # fmt: skip
    return Sighting(**given | facts)


GONE = seen(is_connected=False)
AGAIN = seen(is_connected=False, seen_ms=GONE.seen_ms + LATER)


@pytest.mark.parametrize(
    ("now", "before", "dead"),
    [
        (seen(), seen(), False),
        (seen(left_ms=0), None, True),
        (seen(left_ms=-1, is_connected=False), None, True),
        (seen(left_ms=0, up_ms=TTL_MS - 1), None, False),  # it had no chance to renew it
        (seen(left_ms=0, is_closed=True), None, False),  # it has ended, and says so
        (GONE, None, False),
        (AGAIN, GONE, True),
        (AGAIN, seen(), False),  # it is missing for the first time
        (seen(is_connected=False, seen_ms=GONE.seen_ms + LATER - 1), GONE, False),
        (seen(is_connected=False, seen_ms=AGAIN.seen_ms, lease="one"), GONE, False),
        (seen(seen_ms=AGAIN.seen_ms), GONE, False),  # it is there again
        (
            seen(is_connected=False, has_renewed=False, seen_ms=AGAIN.seen_ms),
            seen(is_connected=False, has_renewed=False),
            False,  # the server was away: all connections are missing
        ),
    ],
)
def test_who_is_dead(now: Sighting, before: Sighting | None, dead: bool) -> None:  # noqa: FBT001
    assert is_dead(now, before) is dead


def test_what_is_adopted() -> None:
    rows = [
        seen(id=1, left_ms=0),  # one's own
        seen(id=2, left_ms=0),
        seen(id=3, left_ms=0, is_empty=True),
        seen(id=4, is_closed=True),
        seen(id=5),
    ]

    assert [one.id for one in to_adopt(rows, [], me=1)] == [2, 4]
    assert [one.id for one in to_adopt(rows, [], me=1, there_ms=TTL_MS - 1)] == [4]


def test_who_is_gone_is_called_once() -> None:
    gone = {"is_connected": False}
    rows = [
        seen(id=1, **gone),  # oneself
        seen(id=2, **gone),
        seen(id=3, **gone, is_closed=True),
        seen(id=4, **gone, has_renewed=False),
        seen(id=5),
    ]

    assert to_call(rows, [], me=1) == [2]
    assert to_call(rows, rows, me=1) == []


def test_a_new_worker_takes_the_first_row_that_is_free() -> None:
    closed = seen(id=2, is_closed=True, is_connected=False)
    stopped = seen(id=3, left_ms=0)  # its process stands still, and holds the lock of the row

    assert to_take([seen(), stopped], []) is None
    assert to_take([seen(), stopped, closed], []) == closed
    assert to_take([AGAIN, closed], [GONE]) == AGAIN
    assert to_take([AGAIN, closed], []) == closed


@pytest.mark.parametrize(
    ("row", "lives"),
    [
        (seen(), True),
        (seen(left_ms=-1), True),
        (seen(is_closed=True), False),
        (GONE, False),
        (seen(is_connected=False, has_renewed=False), True),
        (seen(is_connected=False, has_renewed=False, left_ms=0), False),
    ],
)
def test_who_lives(row: Sighting, lives: bool) -> None:  # noqa: FBT001
    assert bool(living([row])) is lives


def test_who_is_given_what_is_not_served_here() -> None:
    able = {"functions": frozenset({"m.f"})}
    rows = [
        seen(id=1, **able),  # oneself
        seen(id=2, is_closed=True, **able),
        seen(id=3),
        seen(id=4, left_ms=9000, **able),
        seen(id=5, left_ms=100, **able),
    ]

    found = to_give(rows, 1, "m.f")

    assert found is not None
    assert found.id == 4
    assert to_give(rows, 1, "m.g") is None


@pytest.mark.parametrize(
    ("other", "wait_ms"),
    [
        (seen(id=2), LOOK_MS),
        (seen(id=2, is_connected=False), GRACE_MS),  # is it missing the next time, too?
        (seen(id=2, is_connected=False, is_empty=True), LOOK_MS),
        (seen(id=2, is_connected=False, is_closed=True), LOOK_MS),
    ],
)
def test_when_a_worker_looks_again(other: Sighting, wait_ms: int) -> None:
    assert next_look_ms([seen(), other], 1) == wait_ms


@pytest.mark.parametrize(
    ("kind", "target", "body", "wanted"),
    [
        ("create", "a", '{"fn":"m.f","in":[]}', Route(function="m.f")),
        ("create", "a@1", '{"fn":"m.f","in":[],"cron":"a"}', Route()),
        ("create", "a", "{", Route()),  # of a later version
        ("fork", "a", "{}", Route(function="")),
        ("import", "a", "[]", Route(function="")),
        ("signal", "a", "{}", Route(chain="a")),
        ("cancel", "a/2~3", "{}", Route(chain="a/2")),
        ("stub", "a~2/5", "{}", Route(chain="a")),
        ("stub", "nonsense", "{}", Route()),
        ("schedule", "nightly", "{}", Route()),
    ],
)
def test_where_a_letter_goes(kind: str, target: str, body: str, wanted: Route) -> None:
    assert route(kind, target, body) == wanted
