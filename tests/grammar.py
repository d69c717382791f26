"""Which programs there are; what their instructions mean stands in programs.py."""

from __future__ import annotations

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
