"""The restore points of a span of time. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from obelisk_ops.replica.catalogue import Point, Replica
from obelisk_ops.replica.times import AtOf


def within(
    replica: Replica, *, since_ms: int | None, until_ms: int | None, at_of: AtOf
) -> tuple[Point, ...]:
    """
    Return the points that were captured in a span of time, both ends included, oldest first.

    The points of one epoch come from one clock, so their times are in order, and few of them
    have to be asked for: those of a binary search.

    Args:
        replica: What there is.
        since_ms: UTC milliseconds; None for the beginning.
        until_ms: UTC milliseconds; None for the end.
        at_of: When a point was captured; UTC milliseconds.
    """
    found: list[Point] = []
    for history in replica.epochs:
        points = history.points
        first = 0 if since_ms is None else bisect_left(points, since_ms, key=at_of)
        last = None if until_ms is None else bisect_right(points, until_ms, key=at_of)
        found += points[first:last]
    return tuple(found)
