"""
Which objects of a replica may go. Pure.

Promised is every moment from the cut-off on: the points that arrived since, and the newest one
before it, which is the state at the cut-off. A restore of any of these begins at a snapshot,
and reads nothing that ends before it: that is what goes, and epochs of which no point is
promised and behind which a drill has proven a later one.

Of an epoch that may still be written, single changes stay, and of each level the last file:
Litestream goes on from there. It does the same itself, later, by `snapshot.retention`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from obelisk_ops.replica.catalogue import EpochHistory, LtxFile, Point, Replica
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL

#: Clocks are allowed to differ so much; a drill that is so young proves nothing yet.
MARGIN_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The last good drill: when it began (UTC milliseconds), and of which epoch it is."""

    at_ms: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPlan:
    """
    What becomes of one epoch.

    Attributes:
        epoch: Its number.
        is_live: Whether its owner may still write it.
        doomed: The objects that go.
        kept: How many stay.
        kept_points: How many of its restore points stay.
        why: Why what stays does.
    """

    epoch: int
    is_live: bool
    doomed: tuple[LtxFile, ...]
    kept: int
    kept_points: int
    why: str

    @property
    def doomed_bytes(self) -> int:
        """Bytes of what goes."""
        return sum(file.size for file in self.doomed)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """
    What goes of a replica.

    Attributes:
        name: The replica.
        cutoff_ms: From when on every moment stays restorable; by the bucket's clock.
        epochs: Each epoch that has objects.
    """

    name: str
    cutoff_ms: int
    epochs: tuple[EpochPlan, ...]

    @property
    def doomed(self) -> tuple[LtxFile, ...]:
        """All objects that go."""
        return tuple(file for epoch in self.epochs for file in epoch.doomed)


def cutoff_of(*, now_ms: int, keep_ms: int, proof: Proof) -> int:
    """Return the cut-off: nothing that is newer than the last good drill goes."""
    return min(now_ms - keep_ms, proof.at_ms - MARGIN_MS)


def make_plan(replica: Replica, cutoff_ms: int, proof: Proof) -> PrunePlan:
    """Return what of a replica goes."""
    # The bucket's clock is not the writer's, and listings are in whole seconds.
    edge_ms = cutoff_ms - MARGIN_MS
    pivot = _pivot(replica, edge_ms)
    live_from = replica.current.epoch if replica.current else 0
    return PrunePlan(
        name=replica.name,
        cutoff_ms=cutoff_ms,
        epochs=tuple(
            _plan(
                history,
                _promised(history, edge_ms, pivot),
                is_live=history.epoch >= live_from,
                is_proven=proof.epoch > history.epoch,
            )
            for history in replica.epochs
            if history.files
        ),
    )


def _promised(history: EpochHistory, cutoff_ms: int, pivot: Point | None) -> list[Point]:
    """Return the points of an epoch that stay; *pivot* is the state at the cut-off."""
    points = history.points
    since = (at for at, point in enumerate(points) if point.listed_ms >= cutoff_ms)
    # And the one before the first of these: the state between the two.
    starts = [max(at - 1, 0) for at in islice(since, 1)]
    # The state at the cut-off may lie before points that its history left.
    starts += [at for at, point in enumerate(points) if point == pivot]
    return list(points[min(starts) :]) if starts else []


def _pivot(replica: Replica, cutoff_ms: int) -> Point | None:
    """Return the newest state at the cut-off, on the line that leads to the newest one."""
    before = [point for point in replica.lineage if point.listed_ms < cutoff_ms]
    return before[-1] if before else None


def _plan(
    history: EpochHistory, points: list[Point], *, is_live: bool, is_proven: bool
) -> EpochPlan:
    if points:
        doomed, why = _below(history, points[0], is_live=is_live)
    elif is_live or not is_proven:
        doomed, why = [], "no drill has proven a later epoch"
    else:
        doomed, why = list(history.files), ""
    kept = len(history.files) - len(doomed)
    gone = {file.key for file in doomed}
    return EpochPlan(
        epoch=history.epoch, is_live=is_live, doomed=tuple(doomed), kept=kept, why=why,
        kept_points=sum(point.file.key not in gone for point in history.points),
    )  # fmt: skip


def _below(history: EpochHistory, first: Point, *, is_live: bool) -> tuple[list[LtxFile], str]:
    """Return what ends before the snapshot that the first promised point needs."""
    ends = [
        file.max_txid
        for file in history.files
        if file.level == SNAPSHOT_LEVEL and file.max_txid <= first.txid
    ]
    if not ends:
        return [], "no snapshot lies before what stays"
    floor = max(ends)
    below = [file for file in history.files if file.max_txid < floor]
    if is_live:
        last = {file.level: file.max_txid for file in sorted(history.files, key=_end)}
        below = [f for f in below if f.level and f.max_txid < last[f.level]]
    return below, "it is needed"


def _end(file: LtxFile) -> int:
    return file.max_txid
