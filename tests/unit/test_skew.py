"""Whether Litestream may delete, by the clocks, as tables."""

from __future__ import annotations

import pytest

from obelisk_ops.objectstore.hearing import HEARD, Heard, hear, hear_answer
from obelisk_ops.supervise.skew import (
    AGREED_MS,
    LIMIT_MS,
    SETTLED_MS,
    Permission,
    Time,
    decide,
    skew_ms,
    time_of,
    words_of_skew,
)

#: Asked when 5,000 ms had passed here and answered at 5,200, with the second 1,000,000 ms.
TIME = time_of(1_000_000, began_ms=5_000, ended_ms=5_200)
#: When what is decided is asked about.
NOW_MS = 1_000_000
UNTIL = ": Litestream deletes nothing until they agree within 30 s, for 5 min"


def agreed(ago_ms: int) -> Permission:
    """Return that it is not given yet, where the clocks agree since so long."""
    return Permission(is_given=False, agreed_ms=NOW_MS - ago_ms)


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


GIVEN, TAKEN = Permission(is_given=True), Permission(is_given=False)


@pytest.mark.parametrize(
    ("skew", "before", "decided"),
    [
        pytest.param(None, None, TAKEN, id="not known"),
        pytest.param(None, GIVEN, TAKEN, id="not known any more"),
        pytest.param(0, None, GIVEN, id="they agree"),
        pytest.param(LIMIT_MS, None, GIVEN, id="nearly"),
        pytest.param(LIMIT_MS + 1, None, TAKEN, id="ahead: too much would go"),
        pytest.param(-LIMIT_MS - 1, None, TAKEN, id="behind: it could be set any moment"),
        pytest.param(LIMIT_MS, GIVEN, GIVEN, id="not yet too much"),
        pytest.param(LIMIT_MS + 1, GIVEN, TAKEN, id="too much now: at once"),
        pytest.param(LIMIT_MS, TAKEN, TAKEN, id="it wavers: nothing is restarted"),
        pytest.param(-AGREED_MS - 1, TAKEN, TAKEN, id="not yet enough"),
        pytest.param(AGREED_MS, TAKEN, agreed(0), id="they begin to agree"),
        pytest.param(0, agreed(SETTLED_MS - 1), agreed(SETTLED_MS - 1), id="not for long"),
        pytest.param(0, agreed(SETTLED_MS), GIVEN, id="for long enough"),
        pytest.param(AGREED_MS + 1, agreed(SETTLED_MS), TAKEN, id="not any more: anew"),
    ],
)
def test_whether_anything_may_be_deleted(
    skew: int | None, before: Permission | None, decided: Permission
) -> None:
    assert decide(skew, before=before, elapsed_ms=NOW_MS) == decided


def test_a_clock_that_swings_at_the_limit_starts_litestream_anew_once_in_a_while() -> None:
    """For an hour it is well for four minutes, and wrong for one second; then it is mended."""
    permission, changes, held_s = GIVEN, 0, 0
    for second in range(7200):
        skew = LIMIT_MS + 1 if second < 3600 and second % 241 == 240 else 0
        before = permission
        permission = decide(skew, before=before, elapsed_ms=second * 1000)
        changes += permission.is_given is not before.is_given
        held_s += not permission.is_given

    assert changes == 2, "forbidden once, and allowed once"
    assert permission.is_given
    assert held_s < 3600 + SETTLED_MS / 1000


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (None, "the bucket does not tell its time: Litestream deletes nothing until it does"),
        (108_000_000, f"this machine's clock is 108000 s ahead of the bucket's{UNTIL}"),
        (-61_400, f"this machine's clock is 61 s behind the bucket's{UNTIL}"),
        (0, f"this machine's clock differed from the bucket's a moment ago{UNTIL}"),
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
