"""
What a bad object costs, and what gives some of it back. Pure.

A restore reads just the objects that Litestream's walk takes. So of a bad one it costs the
points whose walk takes it; where another object holds the same, they come back when the bad
one is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from obelisk_ops.replica.catalogue import (
    EpochHistory,
    LtxFile,
    Point,
    restore_points,
    walk,
)
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Neighbouring restore points, from the first to the last, both included."""

    first: Point
    last: Point
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """
    What an object costs.

    Attributes:
        lost: The points that cannot be restored while it is there as it is.
        regained: How many of them can be when it is removed.
    """

    lost: tuple[Span, ...] = ()
    regained: int = 0

    @property
    def points(self) -> int:
        """How many points are lost."""
        return sum(span.points for span in self.lost)


def cost_of(
    history: EpochHistory, suspects: Collection[LtxFile], bad: Collection[LtxFile]
) -> Cost:
    """
    Return what objects of an epoch cost, of which at least one is bad.

    Args:
        history: The epoch.
        suspects: The objects.
        bad: All objects of the epoch that are to be removed.
    """
    first = min(file.max_txid for file in suspects)
    last = max(file.max_txid for file in suspects)
    snapshots = [
        file.max_txid
        for file in history.files
        if file.level == SNAPSHOT_LEVEL and file not in suspects
    ]
    # No walk goes over a later snapshot, and none needs what an earlier one holds.
    end = min((txid for txid in snapshots if txid >= last), default=None)
    start = max((txid for txid in snapshots if txid < first), default=0)
    near = [file for file in history.files if file.max_txid >= start]
    candidates = [
        point for point in history.points
        if point.txid >= first and (end is None or point.txid < end)
    ]  # fmt: skip
    lost = [p for p in candidates if any(file in suspects for file in walk(near, p.txid))]
    sound = [file for file in history.files if file not in bad]
    again = {point.txid for point in restore_points(sound)}
    return Cost(
        lost=_spans(candidates, lost), regained=sum(point.txid in again for point in lost)
    )


def _spans(among: Sequence[Point], chosen: Sequence[Point]) -> tuple[Span, ...]:
    wanted = {point.txid for point in chosen}
    spans: list[Span] = []
    is_open = False
    for point in among:
        if point.txid not in wanted:
            is_open = False
        elif is_open:
            span = spans.pop()
            spans.append(Span(first=span.first, last=point, points=span.points + 1))
        else:
            spans.append(Span(first=point, last=point, points=1))
            is_open = True
    return tuple(spans)
