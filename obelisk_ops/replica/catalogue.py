"""
What can be restored from a replica, worked out from a listing alone.

Litestream restores by a walk: it takes the newest snapshot that is not too new,
then again and again the file that starts no later than the next transaction and
reaches furthest. So exactly those transactions are restore points at which a
walk can end: the last ones of files that the walk can reach.

Pure: the listing comes in as data. ``replica.reading`` fetches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from obelisk_ops.litestream import ltx
from obelisk_ops.objectstore import ObjectInfo
from obelisk_ops.replica.epochs import EpochMarker, Parent
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class LtxFile:
    """One object: the changes of the transactions from ``min_txid`` to ``max_txid``."""

    epoch: int
    level: int
    min_txid: int
    max_txid: int
    key: str
    size: int
    modified_ms: int
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """
    A state that can be restored: the database after a transaction.

    Attributes:
        epoch: The epoch it belongs to.
        txid: The last transaction it contains.
        file: The least compacted file that ends there; its header knows the time.
        orphaned: The history went on from an earlier point; only a wish that names
            the epoch gets it.
    """

    epoch: int
    txid: int
    file: LtxFile
    orphaned: bool = False

    @property
    def level(self) -> int:
        """The level of ``file``."""
        return self.file.level

    @property
    def listed_ms(self) -> int:
        """When the file arrived in the bucket, by the bucket's clock, in whole seconds."""
        return self.file.modified_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """
    Transactions that no file holds.

    Attributes:
        epoch: The epoch it is in.
        after_txid: The last transaction before it; 0 if even the first is missing.
        before_txid: The first transaction after it that is there again.
        is_pending: Only a snapshot is there again. Litestream writes those from the
            database itself, so one may be ahead of transactions that are still to come.
    """

    epoch: int
    after_txid: int
    before_txid: int
    is_pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochHistory:
    """
    One epoch: what was listed, and what follows from it.

    Attributes:
        epoch: Its number.
        marker: Who opened it; None where the marker is lost.
        parent: Where it branched; None if it began anew.
        kept: The last transaction that the newest state descends from; None for all, 0
            for none of them.
        files: Its objects.
        points: What can be restored, in order.
        gaps: What cannot, from the oldest point on.
    """

    epoch: int
    marker: EpochMarker | None = None
    parent: Parent | None = None
    kept: int | None = None
    files: tuple[LtxFile, ...] = ()
    points: tuple[Point, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A whole replica, oldest epoch first."""

    name: str
    epochs: tuple[EpochHistory, ...] = ()
    points: tuple[Point, ...] = field(init=False)
    gaps: tuple[Gap, ...] = field(init=False)

    def __post_init__(self) -> None:
        points = tuple(point for epoch in self.epochs for point in epoch.points)
        object.__setattr__(self, "points", points)
        gaps = tuple(gap for epoch in self.epochs for gap in epoch.gaps)
        object.__setattr__(self, "gaps", gaps)

    @property
    def lineage(self) -> tuple[Point, ...]:
        """The points that the newest state descends from, oldest first."""
        return tuple(point for point in self.points if not point.orphaned)

    @property
    def current(self) -> EpochHistory | None:
        """The newest epoch that can be restored; the newest at all if none can."""
        restorable = [epoch for epoch in self.epochs if epoch.points]
        newest = (restorable or self.epochs)[-1:]
        return newest[0] if newest else None

    @property
    def owner(self) -> str | None:
        """The machine that opened the newest epoch; None where no marker says it."""
        marker = self.epochs[-1].marker if self.epochs else None
        return marker.host if marker else None

    @property
    def size(self) -> int:
        """Bytes of all LTX files."""
        return sum(file.size for epoch in self.epochs for file in epoch.files)

    @property
    def objects(self) -> int:
        """Number of LTX files."""
        return sum(len(epoch.files) for epoch in self.epochs)

    def history(self, epoch: int) -> EpochHistory | None:
        """Return one epoch; None if there is none of this number."""
        return next((found for found in self.epochs if found.epoch == epoch), None)


def ltx_file(info: ObjectInfo, *, epoch: int, folder: str) -> LtxFile | None:
    """Return what a listed object is; None if it is no LTX file of *folder*."""
    name = ltx.parse_name(info.key.removeprefix(folder))
    if name is None:
        return None
    return LtxFile(
        epoch=epoch, level=name.level, min_txid=name.min_txid, max_txid=name.max_txid,
        key=info.key, size=info.size, modified_ms=info.modified_ms, etag=info.etag,
    )  # fmt: skip


def build(
    name: str, files: Mapping[int, Sequence[LtxFile]], markers: Iterable[EpochMarker]
) -> Replica:
    """Work out a replica from its files by epoch, and its markers."""
    marked = {marker.epoch: marker for marker in markers}
    numbers = sorted(files.keys() | marked.keys())
    parents = {number: _parent(number, marked, numbers) for number in numbers}
    kept = lineage(parents)
    return Replica(
        name=name,
        epochs=tuple(
            replace(
                _history(number, files.get(number, ()), kept.get(number, 0)),
                marker=marked.get(number),
                parent=parents[number],
            )
            for number in numbers
        ),
    )


def walk(files: Iterable[LtxFile], txid: int) -> tuple[LtxFile, ...]:
    """
    Return the files Litestream restores from, in its order, to reach *txid*.

    The last one ends at *txid* if that is a restore point; otherwise the walk
    ends earlier, and Litestream refuses.
    """
    usable = [file for file in files if file.max_txid <= txid]
    snapshots = [file for file in usable if file.level == SNAPSHOT_LEVEL]
    plan = [max(snapshots, key=lambda file: file.max_txid)] if snapshots else []
    reached = plan[0].max_txid if plan else 0
    furthest: LtxFile | None = None
    waiting = sorted(
        (file for file in usable if file.level != SNAPSHOT_LEVEL),
        key=lambda file: file.min_txid, reverse=True,
    )  # fmt: skip
    while True:
        while waiting and waiting[-1].min_txid <= reached + 1:
            furthest = max(furthest or waiting[-1], waiting.pop(), key=_preference)
        if furthest is None or furthest.max_txid <= reached:
            return tuple(plan)
        plan.append(furthest)
        reached = furthest.max_txid


def restore_points(files: Iterable[LtxFile]) -> tuple[Point, ...]:
    """
    Return the transactions at which a walk can end, in order.

    If any walk reaches an earlier point and a file starts no later than just
    behind it, the walk that is limited to that file's end reaches that end. So
    it is enough to remember the last point while going through the ends.
    """
    points: list[Point] = []
    reached = 0
    ordered = sorted(files, key=lambda file: (file.max_txid, file.level))
    for txid, ending in groupby(ordered, key=lambda file: file.max_txid):
        here = list(ending)
        if min(file.min_txid for file in here) <= reached + 1:
            points.append(Point(epoch=here[0].epoch, txid=txid, file=here[0]))
            reached = txid
    return tuple(points)


def find_gaps(files: Sequence[LtxFile], points: Sequence[Point]) -> tuple[Gap, ...]:
    """
    Return the transactions that no file holds, from the oldest point on.

    A snapshot holds one state, not the transactions that led to it. What lies
    before the oldest point was pruned, and is no gap.
    """
    gaps = []
    covered = points[0].txid if points else 0
    shipped = max((f.max_txid for f in files if f.level != SNAPSHOT_LEVEL), default=0)
    for file in sorted(files, key=_first_held):
        first = _first_held(file)
        if first > covered + 1:
            gaps.append(
                Gap(
                    epoch=file.epoch, after_txid=covered, before_txid=first,
                    is_pending=shipped <= covered,
                )
            )  # fmt: skip
        covered = max(covered, file.max_txid)
    return tuple(gaps)


def lineage(parents: Mapping[int, Parent | None]) -> dict[int, int | None]:
    """
    Return how far each epoch belongs to the history of the newest one.

    Args:
        parents: For each epoch where it branched; None if it began anew.

    Returns:
        The last transaction by epoch, None for all of them. Epochs the newest one
        does not descend from are absent.
    """
    kept: dict[int, int | None] = {}
    branch = Parent(epoch=max(parents), txid=None) if parents else None
    while branch is not None and branch.epoch in parents and branch.epoch not in kept:
        kept[branch.epoch] = branch.txid
        branch = parents[branch.epoch]
    return kept


def _parent(
    number: int, marked: Mapping[int, EpochMarker], numbers: Sequence[int]
) -> Parent | None:
    marker = marked.get(number)
    if marker and marker.parent and marker.parent.epoch < number:
        return marker.parent
    # Nobody knows where it branched: the epoch before it was the history until then.
    before = [other for other in numbers if other < number]
    return Parent(epoch=before[-1], txid=None) if before else None


def _history(number: int, files: Sequence[LtxFile], last: int | None) -> EpochHistory:
    points = restore_points(files)
    return EpochHistory(
        epoch=number,
        kept=last,
        files=tuple(files),
        points=tuple(_place(point, last) for point in points),
        gaps=find_gaps(files, points),
    )


def _place(point: Point, last: int | None) -> Point:
    if last is None or point.txid <= last:
        return point
    return Point(epoch=point.epoch, txid=point.txid, file=point.file, orphaned=True)


def _preference(file: LtxFile) -> tuple[int, int, int]:
    return file.max_txid, -file.min_txid, file.level


def _first_held(file: LtxFile) -> int:
    return file.max_txid if file.level == SNAPSHOT_LEVEL else file.min_txid
