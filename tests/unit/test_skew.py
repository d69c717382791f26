"""Whether Litestream may delete, by the clocks, as tables."""

from __future__ import annotations

import pytest

from obelisk_ops.objectstore.hearing import HEARD, Heard, hear, hear_answer
from obelisk_ops.supervise.skew import (
    AGREED_MS,
    LIMIT_MS,
    Time,
    may_delete,
    skew_ms,
    time_of,
    words_of_skew,
)

#: Asked when 5,000 ms had passed here and answered at 5,200, with the second 1,000,000 ms.
TIME = time_of(1_000_000, began_ms=5_000, ended_ms=5_200)


@pytest.mark.parametrize(
    ("now_ms", "elapsed_ms", "skew"),
    [
        pytest.param(1_000_000, 5_200, 0, id="agrees"),
        pytest.param(1_001_199, 5_200, 0, id="the end of the second, when it was asked"),
        pytest.param(1_001_200, 5_200, 1, id="surely ahead"),
        pytest.param(999_999, 5_200, -1, id="surely behind"),
        pytest.param(1_600_000, 605_200, 0, id="ten minutes later, without another answer"),
        pytest.param(109_600_000, 605_200, 107_998_801, id="set 30 h ahead meanwhile"),
        pytest.param(1_000_000, 605_200, -600_000, id="set back meanwhile"),
    ],
)
def test_how_far_the_clocks_surely_differ(now_ms: int, elapsed_ms: int, skew: int) -> None:
    assert skew_ms(TIME, now_ms=now_ms, elapsed_ms=elapsed_ms) == skew


def test_a_bucket_that_has_not_told_its_time() -> None:
    assert skew_ms(None, now_ms=5, elapsed_ms=5) is None
    assert Time(least_ms=994_800, most_ms=995_999) == TIME


@pytest.mark.parametrize(
    ("skew", "before", "allowed"),
    [
        pytest.param(None, None, False, id="not known"),
        pytest.param(None, True, False, id="not known any more"),
        pytest.param(0, None, True, id="they agree"),
        pytest.param(LIMIT_MS, None, True, id="nearly"),
        pytest.param(LIMIT_MS + 1, None, False, id="ahead: too much would go"),
        pytest.param(-LIMIT_MS - 1, None, False, id="behind: it could be set any moment"),
        pytest.param(LIMIT_MS, True, True, id="not yet too much"),
        pytest.param(LIMIT_MS + 1, True, False, id="too much now"),
        pytest.param(LIMIT_MS, False, False, id="it wavers: nothing is restarted"),
        pytest.param(-AGREED_MS - 1, False, False, id="not yet enough"),
        pytest.param(AGREED_MS, False, True, id="they agree again"),
    ],
)
def test_whether_anything_may_be_deleted(
    skew: int | None, *, before: bool | None, allowed: bool
) -> None:
    assert may_delete(skew, before=before) is allowed


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (None, "the bucket does not tell its time"),
        (108_000_000, "this machine's clock is 108000 s ahead of the bucket's"),
        (-61_400, "this machine's clock is 61 s behind the bucket's"),
    ],
)
def test_the_words(skew: int | None, words: str) -> None:
    assert words_of_skew(skew) == words


@pytest.mark.parametrize(
    ("date", "at_ms"),
    [
        ("Sun, 22 Nov 2026 17:00:00 GMT", 1_795_366_800_000),
        ("", None), ("yesterday", None),
    ],
)  # fmt: skip
def test_the_time_in_an_answer(date: str, at_ms: int | None) -> None:
    heard = Heard()
    token = HEARD.set(heard)
    try:
        hear({"date": date})
        hear_answer(response_dict=None, exception=OSError())
    finally:
        HEARD.reset(token)

    assert heard.at_ms == at_ms


def test_nobody_listens() -> None:
    hear({"date": "Sun, 22 Nov 2026 17:00:00 GMT"})

    assert HEARD.get() is None
