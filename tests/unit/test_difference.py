"""Where two runs part: tables of pairs of logs, and of pairs of values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.core import forking
from obelisk_ops.core.changes import MOST, Change, changes, is_same
from obelisk_ops.core.difference import Difference, compare
from obelisk_ops.core.fold import fold
from obelisk_ops.core.history import History, from_json
from obelisk_ops.core.ports import InboxItem
from tests.runs import BEGIN, ERROR, Step, history, returns

RECORDED = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
OTHER = {"type": "ValueError", "message": "no"}
ENDS: Step = (99, "finished", {"ok": 1})
FAILS: Step = (99, "finished", {"error": ERROR})
PARKED: Step = (50, "parked", {"error": OTHER})
ONE = returns(1, 0, 10, {"loss": 0.5})
ASKED = ONE[:1]
FAILED_ONCE: list[Step] = [
    ONE[0],
    (3, "attempt_failed", {"n": 1, "try": 1, "error": ERROR, "retry_at": 0}),
    (5, "attempt_started", {"n": 1, "try": 2}),
    ONE[1],
]


def nap(wait: int) -> Step:
    return (20, "timer_set", {"n": 2, "wait": wait, "until": BEGIN + wait})


PAIRS: list[tuple[list[Step], list[Step], str, tuple[Any, ...] | None]] = [
    # left, right                            relation      first: what, n, versions
    ([*ONE, ENDS], [*ONE, ENDS], "equal", None),
    # what does not count: when, how long, how often
    ([*ONE, ENDS], [*returns(1, 7, 80, {"loss": 0.5}), ENDS], "equal", None),
    ([*ONE, ENDS], [*FAILED_ONCE, ENDS], "equal", None),
    ([*ONE, (30, "paused", {}), (40, "unpaused", {}), ENDS], [*ONE, ENDS], "equal", None),
    # not so far
    ([], ASKED, "left_behind", ("more", 1, None, 1)),
    (ASKED, ONE, "left_behind", ("more", 1, None, 2)),
    ([*ONE, ENDS], ONE, "right_behind", ("more", None, 3, None)),
    (ONE, ONE, "equal", None),
    # other arguments, another call, another wait
    (ONE, returns(1, 0, 10, {"loss": 0.5}, fn="train"), "diverged", ("call", 1, 1, 1)),
    ([*ONE, nap(5)], [*ONE, nap(6)], "diverged", ("call", 2, 3, 3)),
    ([*ONE, nap(5)], [*ONE, *returns(2, 20, 30, 1)], "diverged", ("call", 2, 3, 3)),
    # the one ends where the other one goes on calling
    ([*ONE, ENDS], [*ONE, nap(5)], "diverged", ("call", 2, 3, 3)),
    # another answer; the first one counts
    (ONE, returns(1, 0, 10, {"loss": 0.7}), "diverged", ("answer", 1, 2, 2)),
    (
        [*ONE, ENDS], [ASKED[0], (9, "returned", {"n": 1, "error": ERROR}), FAILS],
        "diverged", ("answer", 1, 2, 2),
    ),
    (ONE, [ASKED[0], (9, "cancelled", {"n": 1})], "diverged", ("answer", 1, 2, 2)),
    # another end
    ([*ONE, ENDS], [*ONE, FAILS], "diverged", ("end", None, 3, 3)),
    ([*ONE, FAILS], [*ONE, (9, "finished", {"error": OTHER})], "diverged",
     ("end", None, 3, 3)),
    (
        [*ONE, ENDS], [*ONE, (99, "finished", {"ok": 1, "continued": "e~2"})],
        "diverged", ("end", None, 3, 3),
    ),
    # parked is an end as long as it lasts
    ([*ONE, PARKED], [*ONE, PARKED], "equal", None),
    ([*ONE, PARKED], ONE, "diverged", ("end", None, 3, None)),
    ([*ONE, PARKED, (60, "resumed", {}), ENDS], [*ONE, ENDS], "equal", None),
]  # fmt: skip


def first_of(found: Difference) -> tuple[Any, ...] | None:
    if found.first is None:
        return None
    sides = found.first.left, found.first.right
    return (found.first.what, found.first.n, *(side and side.version for side in sides))


@pytest.mark.parametrize(("left", "right", "relation", "first"), PAIRS)
def test_where_they_part(
    left: list[Step], right: list[Step], relation: str, first: tuple[Any, ...] | None
) -> None:
    found = compare(history(left), history(right))

    assert (found.relation, first_of(found)) == (relation, first)


@pytest.mark.parametrize(("left", "right", "relation", "first"), PAIRS)
def test_it_does_not_matter_which_is_left(
    left: list[Step], right: list[Step], relation: str, first: tuple[Any, ...] | None
) -> None:
    mirrored = {"left_behind": "right_behind", "right_behind": "left_behind"}

    found = compare(history(right), history(left))

    wanted = None if first is None else (*first[:2], first[3], first[2])
    assert (found.relation, first_of(found)) == (mirrored.get(relation, relation), wanted)


def test_other_arguments_of_the_workflow() -> None:
    found = compare(
        history([ENDS], given=[1, {"lr": 2}]), history([ENDS], given=[1, {"lr": 3}])
    )

    assert first_of(found) == ("input", None, 0, 0)
    assert found.first is not None
    assert found.first.changes == (Change("$[1].lr", "2", "3"),)


def test_of_other_workflows_no_calls_are_compared() -> None:
    found = compare(history(ONE), replace(history(ONE), function="shop.other"))

    assert first_of(found) == ("function", None, 0, 0)
    assert found.pairs == ()


def test_a_fork_shares_the_beginning() -> None:
    origin = history([*ONE, *returns(2, 20, 30, 1), FAILS], name="origin")
    forked = forking.fork(origin, 3, "forked")
    went_on = grown(forked, [*returns(2, 120, 130, 2), ENDS])

    found = compare(origin, went_on)

    assert found.shared == 2
    assert first_of(found) == ("answer", 2, 4, 4)
    assert compare(origin, forked).relation == "right_behind"


def test_one_run_at_two_moments() -> None:
    now = history([*ONE, *returns(2, 20, 30, 1), ENDS])
    before = replace(now, events=now.events[:4])

    found = compare(before, now)

    assert (found.relation, found.shared) == ("left_behind", 3)
    assert first_of(found) == ("more", 2, None, 4)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_moment_of_a_run_is_the_same_as_far_as_it_goes(path: Path) -> None:
    whole = from_json(path.read_text())
    assert compare(whole, whole).relation == "equal"

    for length in range(1, len(whole.events)):
        moment = replace(whole, events=whole.events[:length])
        found = compare(moment, whole)
        if fold(moment.events).parked is None:
            assert found.relation in ("left_behind", "equal")
            assert found.shared == length - 1


def test_answers_from_elsewhere_are_compared_by_what_arrived() -> None:
    asked: Step = (1, "signal_awaited", {"n": 1, "name": "go"})
    steps: list[Step] = [asked, (5, "signal_received", {"n": 1, "seq": 1})]

    def told(value: str) -> History:
        return history(steps, inbox={1: InboxItem("signal", 0, BEGIN, f'{{"value":{value}}}')})

    assert compare(told("true"), told("true")).relation == "equal"
    assert first_of(compare(told("true"), told("false"))) == ("answer", 1, 2, 2)


def test_the_order_of_answers_is_told_and_is_no_difference() -> None:
    (a, ra), (b, rb) = returns(1, 0, 10, 1), returns(2, 0, 10, 2)

    found = compare(history([a, b, ra, rb, ENDS]), history([a, b, rb, ra, ENDS]))

    assert (found.relation, found.other_order) == ("equal", (1, 2))


def test_calls_are_compared_one_by_one() -> None:
    left = [*ONE, *returns(2, 20, 30, [1, 2]), *returns(3, 30, 40, 1)]
    right = [*FAILED_ONCE, *returns(2, 20, 60, [1, 3, 4]), nap(5)]

    pairs = compare(history(left), history(right[:-1])).pairs

    assert [(pair.n, pair.differs) for pair in pairs] == [
        (1, ("attempts",)), (2, ("value",)), (3, ())
    ]  # fmt: skip
    assert pairs[1].changes == (Change("$[1]", "2", "3"), Change("$[2]", None, "4"))
    assert pairs[2].right is None


def grown(base: History, steps: list[Step]) -> History:
    """Return a history that goes on with these steps."""
    more = [
        replace_version(event, len(base.events) + number)
        for number, event in enumerate(history(steps).events[1:])
    ]
    return replace(base, events=(*base.events, *more))


def replace_version(event: Any, version: int) -> Any:
    return type(event)(version, event.at, event.kind, event.body)


VALUES: list[tuple[str | None, str | None, list[tuple[Any, ...]]]] = [
    # left, right, changes: path, left, right
    ("1", "1", []),
    ('{"a":1,"b":2}', '{ "b": 2, "a": 1 }', []),
    (None, None, []),
    (None, "null", [("$", None, "null")]),
    ("1", "true", [("$", "1", "true")]),
    ("[1]", '{"0":1}', [("$", "[1]", '{"0":1}')]),
    ('{"a":{"b":[1,2]}}', '{"a":{"b":[1,3]}}', [("$.a.b[1]", "2", "3")]),
    ("[1]", "[1,2]", [("$[1]", None, "2")]),
    ('{"a b":1}', '{"a b":2}', [('$["a b"]', "1", "2")]),
    ('{"a":1}', '{"b":1}', [("$.a", "1", None), ("$.b", None, "1")]),
]


@pytest.mark.parametrize(("left", "right", "wanted"), VALUES)
def test_values(left: str | None, right: str | None, wanted: list[tuple[Any, ...]]) -> None:
    one, other = (None if side is None else side.encode() for side in (left, right))

    assert changes(one, other) == tuple(Change(*change) for change in wanted)
    assert is_same(one, other) is (wanted == [])


def test_of_many_differences_the_first_are_told() -> None:
    left, right = (str([value] * 1000).encode() for value in (1, 2))

    assert len(changes(left, right)) == MOST


@pytest.mark.parametrize("depth", [100, 100_000])
def test_what_is_nested_without_end_is_compared_as_a_whole(depth: int) -> None:
    left, right = ("[" * depth + end + "]" * depth for end in "12")

    [one] = changes(left.encode(), right.encode())
    assert one.left is not None
