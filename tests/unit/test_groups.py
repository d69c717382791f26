"""Which databases share a process, and when it is started for them, as tables."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from obelisk_ops.supervise.groups import Change, assign, is_complete

ONE, TWO, THREE = (f"_shared-{number}" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("databases", "present", "size", "groups"),
    [
        pytest.param("", {}, 2, {}, id="none"),
        pytest.param("ab", {}, None, {"a": "a", "b": "b"}, id="each its own"),
        pytest.param("ab", {"a": ONE}, None, {"a": "a", "b": "b"}, id="no longer shared"),
        pytest.param("abc", {}, 2, {"a": ONE, "b": ONE, "c": TWO}, id="the first start"),
        pytest.param(
            "abc", {"b": TWO, "c": TWO}, 2, {"a": ONE, "b": TWO, "c": TWO}, id="all are full"
        ),
        pytest.param(
            "abx", {"a": TWO, "b": ONE}, 2, {"a": TWO, "b": ONE, "x": ONE}, id="a newcomer"
        ),
        pytest.param(
            "abcxy",
            {"a": ONE, "b": ONE, "c": TWO},
            3,
            {"a": ONE, "b": ONE, "c": TWO, "x": TWO, "y": TWO},
            id="newcomers stay together, in the emptiest",
        ),
        pytest.param(
            "ac", {"a": ONE, "b": ONE, "c": TWO}, 2, {"a": ONE, "c": TWO}, id="one has left"
        ),
        pytest.param(
            "abc", dict.fromkeys("abc", ONE), 2, {"a": ONE, "b": ONE, "c": TWO}, id="smaller"
        ),
        pytest.param("ab", {"a": "a", "b": "b"}, 2, {"a": ONE, "b": ONE}, id="shared from now"),
    ],
)
def test_assignment(
    databases: str, present: dict[str, str], size: int | None, groups: dict[str, str]
) -> None:
    assert assign(databases, present, size=size) == groups


def test_nobody_moves_whoever_comes_and_goes() -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    present: dict[str, str] = {}
    for _ in range(200):
        stay = [name for name in present if draw.random() < 0.9]
        come = [f"db-{draw.randrange(500)}" for _ in range(draw.randrange(12))]

        groups = assign({*stay, *come}, present, size=7)

        assert groups.keys() == {*stay, *come}, f"seed {seed}"
        assert all(groups[name] == present[name] for name in stay), f"seed {seed}"
        assert max(Counter(groups.values()).values(), default=0) <= 7, f"seed {seed}"
        present = groups


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
