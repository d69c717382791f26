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
#: Once they have disagreed: so close for so long. To begin to delete again is never urgent,
#: and each change of it starts Litestream anew; a clock that swings does that seldom.
AGREED_MS = 30_000
SETTLED_MS = 5 * 60_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """
    What was decided last.

    Attributes:
        is_given: Whether Litestream may delete what is old enough by the clock of this machine.
        agreed_ms: If not: since when the clocks agree, by ``Clock.elapsed_ms``; None if they
            do not.
    """

    is_given: bool
    agreed_ms: int | None = None


def decide(skew: int | None, *, before: Permission | None, elapsed_ms: int) -> Permission:
    """
    Decide whether Litestream may delete: it is forbidden at once, and allowed again slowly.

    Args:
        skew: See ``skew_ms``.
        before: What was decided last; None as long as the bucket had not told its time.
        elapsed_ms: ``Clock.elapsed_ms`` now.
    """
    if skew is None:
        return Permission(is_given=False)
    if before is None or before.is_given:
        return Permission(is_given=abs(skew) <= LIMIT_MS)
    if abs(skew) > AGREED_MS:
        return Permission(is_given=False)
    since_ms = elapsed_ms if before.agreed_ms is None else before.agreed_ms
    if elapsed_ms - since_ms >= SETTLED_MS:
        return Permission(is_given=True)
    return Permission(is_given=False, agreed_ms=since_ms)


def words_of_skew(skew: int | None) -> str:
    """Say why it may not delete, and until when."""
    if skew is None:
        return "the bucket does not tell its time: Litestream deletes nothing until it does"
    what = "clock differed from the bucket's a moment ago"
    if abs(skew) > AGREED_MS:
        side = "ahead of" if skew > 0 else "behind"
        what = f"clock is {abs(skew) / 1000:.0f} s {side} the bucket's"
    until = f"agree within {AGREED_MS // 1000} s, for {SETTLED_MS // 60_000} min"
    return f"this machine's {what}: Litestream deletes nothing until they {until}"
