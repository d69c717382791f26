"""Which programs there are; what their instructions mean stands in programs.py."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

GOOD_LEAVES = st.one_of(
    st.tuples(st.sampled_from(["call", "thread", "flaky", "stub"]), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.integers(0, 15)),
)
LEAVES = GOOD_LEAVES | st.tuples(st.just("fail"), st.integers(0, 9))
GOOD_PARTS = st.lists(GOOD_LEAVES, min_size=1, max_size=3)
LOSERS = st.sampled_from(["hang", "nap", "never"])
FLAT = st.one_of(
    LEAVES,
    st.just(("draw",)),
    st.just(("patched",)),
    st.tuples(st.just("gather"), st.lists(GOOD_PARTS, min_size=1, max_size=3)),
    st.tuples(st.just("settle"), st.lists(st.lists(LEAVES, max_size=3), max_size=3)),
    st.tuples(
        st.just("first"), st.lists(st.integers(0, 30), min_size=1, max_size=3, unique=True)
    ),
    st.tuples(st.just("race"), LOSERS, GOOD_PARTS),
    st.tuples(st.sampled_from(["late", "intime"]), GOOD_PARTS),
    st.tuples(st.sampled_from(["drop", "undo"]), st.integers(0, 9)),
    st.tuples(st.just("count"), st.integers(0, 3)),
)
NESTED = st.recursive(
    st.lists(FLAT, min_size=1, max_size=4),
    lambda inner: st.lists(
        st.one_of(
            FLAT,
            st.tuples(st.sampled_from(["child", "try", "schedule"]), inner),
            st.tuples(st.just("all"), st.lists(inner, min_size=1, max_size=3)),
        ),
        min_size=1,
        max_size=5,
    ),
    max_leaves=12,
)
PROGRAMS = st.lists(NESTED | st.just([("receive",)]), min_size=1, max_size=4).map(
    lambda parts: [instruction for part in parts for instruction in part]
)


def random_program(draws: Random, depth: int = 2) -> list[Any]:
    """Return one of PROGRAMS, for runs that are too long for Hypothesis."""
    return [_instruction(draws, depth) for _ in range(draws.randint(1, 5))]


def _instruction(draws: Random, depth: int) -> list[Any]:
    what = draws.choice([*_LEAVES, *_FLAT, *(_DEEP if depth else ())])
    if what in _LEAVES:
        return [what, draws.randint(0, 15 if what == "sleep" else 9)]
    if what in {"drop", "undo", "count"}:
        return [what, draws.randint(0, 3)]
    make: dict[str, Callable[[], list[Any]]] = {
        "draw": list,
        "patched": list,
        "gather": lambda: [[_part(draws) for _ in range(draws.randint(1, 3))]],
        "settle": lambda: [[[*_part(draws), ["fail", 1]] for _ in range(draws.randint(1, 3))]],
        "first": lambda: [draws.sample(range(30), draws.randint(1, 3))],
        "race": lambda: [draws.choice(["hang", "nap", "never"]), _part(draws)],
        "late": lambda: [_part(draws)],
        "intime": lambda: [_part(draws)],
        "all": lambda: [[random_program(draws, depth - 1) for _ in range(draws.randint(1, 3))]],
    }
    nested = [random_program(draws, depth - 1)] if what in _NESTED else make[what]()
    return [what, *nested]


def _part(draws: Random) -> list[Any]:
    return [
        [what, draws.randint(0, 9)]
        for what in draws.choices(_LEAVES[:-1], k=draws.randint(1, 3))
    ]


_LEAVES = ["call", "thread", "flaky", "stub", "sleep", "fail"]
_FLAT = [
    "draw", "patched", "gather", "settle", "first", "race", "late", "intime", "drop", "undo",
    "count",
]  # fmt: skip
_NESTED = ["child", "try", "schedule"]
_DEEP = [*_NESTED, "all", "child", "try", "schedule"]
