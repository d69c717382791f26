"""Which databases share a process, and when it is started for them, as tables."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from obelisk_ops.supervise.groups import FEW, NEWCOMERS, Change, assign, is_complete

ONE, TWO = (f"_shared-{number}" for number in (1, 2))
NEW = NEWCOMERS


@pytest.mark.parametrize(
    ("databases", "present", "size", "groups"),
    [
        pytest.param("", {}, 2, {}, id="none"),
        pytest.param("ab", {}, None, {"a": "a", "b": "b"}, id="each its own"),
        pytest.param("ab", {"a": ONE}, None, {"a": "a", "b": "b"}, id="no longer shared"),
        pytest.param("abc", {}, 2, {"a": ONE, "b": ONE, "c": TWO}, id="the first start"),
        pytest.param(
            "abc", {"b": TWO, "c": TWO}, 2, {"a": NEW, "b": TWO, "c": TWO}, id="all are full"
        ),
        pytest.param("ab", {}, 2, {"a": NEW, "b": NEW}, id="the first are newcomers"),
        pytest.param(
            "abx", {"a": TWO, "b": ONE}, 2, {"a": TWO, "b": ONE, "x": NEW}, id="a newcomer"
        ),
        pytest.param(
            "abxy",
            {"a": ONE, "b": NEW},
            3,
            {"a": ONE, "b": NEW, "x": NEW, "y": NEW},
            id="newcomers stay together",
        ),
        pytest.param(
            "abcx",
            {"a": ONE, "b": NEW, "c": NEW},
            2,
            {"a": ONE, "b": ONE, "c": TWO, "x": NEW},
            id="one too many: those who were there move on",
        ),
        pytest.param(
            "abcdxyz",
            {"a": ONE, "b": ONE, "c": TWO, "d": NEW},
            2,
            {
                "a": ONE,
                "b": ONE,
                "c": TWO,
                "d": NEW,
                "x": TWO,
                "y": "_shared-3",
                "z": "_shared-3",
            },
            id="many at once do not bother the newcomers",
        ),
        pytest.param(
            "ac", {"a": ONE, "b": ONE, "c": TWO}, 2, {"a": ONE, "c": TWO}, id="one has left"
        ),
        pytest.param(
            "abc", dict.fromkeys("abc", ONE), 2, {"a": ONE, "b": ONE, "c": NEW}, id="smaller"
        ),
        pytest.param(
            "abc",
            {"a": "a", "b": "b", "c": "c"},
            2,
            {"a": ONE, "b": ONE, "c": TWO},
            id="shared from now",
        ),
    ],
)
def test_assignment(
    databases: str, present: dict[str, str], size: int | None, groups: dict[str, str]
) -> None:
    assert assign(databases, present, size=size) == groups


def test_nobody_moves_but_newcomers_whoever_comes_and_goes() -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    present: dict[str, str] = {}
    for _ in range(300):
        stay = [name for name in present if draw.random() < 0.95]
        come = [f"db-{draw.randrange(900)}" for _ in range(draw.randrange(25))]

        groups = assign({*stay, *come}, present, size=40)

        assert groups.keys() == {*stay, *come}, f"seed {seed}"
        settled = [name for name in stay if present[name] != NEWCOMERS]
        assert all(groups[name] == present[name] for name in settled), f"seed {seed}"
        moved = {groups[name] for name in stay if groups[name] != present[name]}
        assert NEWCOMERS not in moved, f"seed {seed}"
        assert max(Counter(groups.values()).values(), default=0) <= 40, f"seed {seed}"
        assert Counter(groups.values())[NEWCOMERS] <= FEW, f"seed {seed}"
        present = groups


@pytest.mark.parametrize("at_once", [1, 5, FEW, 1000])
def test_a_fleet_needs_few_processes_however_it_has_grown(at_once: int) -> None:
    present: dict[str, str] = {}
    for number in range(0, 1000, at_once):
        coming = [f"db-{n:04}" for n in range(number, min(number + at_once, 1000))]
        present = assign({*present, *coming}, present, size=150)

    assert len(set(present.values())) <= 8


@pytest.mark.parametrize(
    ("change", "awaited", "complete"),
    [
        pytest.param(None, 0, True, id="nothing changed"),
        pytest.param(None, 3, True, id="what runs is started again at once"),
        pytest.param((0, 0), 0, True, id="nobody else is about to come"),
        pytest.param((500, 100), 1, False, id="others come"),
        pytest.param((19_999, 1_999), 1, False, id="others still come"),
        pytest.param((2_000, 2_000), 1, True, id="but nobody did for two seconds"),
        pytest.param((20_000, 1), 9, True, id="they take too long"),
    ],
)
def test_a_start_waits_for_those_who_are_about_to_come(
    change: tuple[int, int] | None, awaited: int, *, complete: bool
) -> None:
    now_ms = 1_000_000
    ages = change and Change(first_ms=now_ms - change[0], last_ms=now_ms - change[1])

    assert is_complete(ages or None, awaited=awaited, now_ms=now_ms) is complete
