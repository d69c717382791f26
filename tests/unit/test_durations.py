"""Durations, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.core.durations import format_duration, milliseconds, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("500ms", 0.5),
        ("6h", 21_600.0),
        ("30d", 2_592_000.0),
        ("1m30s", 90.0),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "s", "1.5s", "-1s", " 1s", "1 s", "1s1s", "30s1m", "1y", "1S", "٣s", "1s\n"],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration; "):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("wait", "expected"), [(0, 0), (-1, 0), (float("-inf"), 0), (0.0004, 0), (1.5, 1500)]
)
def test_a_wait_that_is_over_is_none(wait: float, expected: int) -> None:
    assert milliseconds(wait) == expected
