"""
May Litestream delete? Only while the clock of this machine agrees with the bucket's.

Litestream compares its own clock with the times that the bucket gave to objects. On a
machine that is 30 hours ahead it removed the history within seconds. So while the clocks
disagree its processes run without retention: more is kept than was asked for, never less.

Pure. Between two answers the bucket's time goes on with the clock that nobody can set, so
that a clock that is set wrong is seen at once, also while the bucket is away.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What is deleted a minute early was to be kept for ten, or for days.
LIMIT_MS = 60_000
#: Once they have disagreed: a clock that wavers around the limit restarts nothing.
AGREED_MS = 30_000
#: The time in an answer is cut to the second.
_CUT_MS = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """
    The bucket's clock: how far it is before ``Clock.elapsed_ms``, at least and at most.

    Attributes:
        least_ms: If the answer was given when the request ended.
        most_ms: If it was given when the request began, at the end of its second.
    """

    least_ms: int
    most_ms: int


def time_of(told_ms: int, *, began_ms: int, ended_ms: int) -> Time:
    """
    Return the bucket's clock as an answer told it.

    Args:
        told_ms: The time in the answer.
        began_ms: When the request began, by ``Clock.elapsed_ms``.
        ended_ms: When the answer was there.
    """
    return Time(least_ms=told_ms - ended_ms, most_ms=told_ms + _CUT_MS - began_ms)


def skew_ms(time: Time | None, *, now_ms: int, elapsed_ms: int) -> int | None:
    """
    Return how far this machine's clock is surely ahead of the bucket's, or behind if negative.

    0 if they agree within what can be told, None if the bucket has not told its time.
    """
    if time is None:
        return None
    here_ms = now_ms - elapsed_ms
    return max(here_ms - time.most_ms, 0) + min(here_ms - time.least_ms, 0)


def may_delete(skew: int | None, *, before: bool | None) -> bool:
    """
    Tell whether Litestream may delete what is old enough by the clock of this machine.

    Args:
        skew: See ``skew_ms``.
        before: What was decided last; None at first.
    """
    if skew is None:
        return False
    return abs(skew) <= (AGREED_MS if before is False else LIMIT_MS)


def words_of_skew(skew: int | None) -> str:
    """Say what is wrong with the clock."""
    if skew is None:
        return "the bucket does not tell its time"
    side = "ahead of" if skew > 0 else "behind"
    return f"this machine's clock is {abs(skew) / 1000:.0f} s {side} the bucket's"
