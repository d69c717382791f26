"""
Whether an epoch can be restored to its newest state, from as short a listing as will do.

A small epoch is listed whole, with one request. Of a large one only what lies behind the
snapshot before the newest is listed, level by level: older files are needed for older
points alone. Levels are read upwards, the way Litestream moves transactions: one that is
taken out of a level meanwhile is in the next.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import islice

from obelisk_ops.litestream import ltx
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, Point, ltx_file, restore_points, walk
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL, ReplicaKeys

#: What one request of a listing returns at most.
PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """
    The files that lead to the newest state of an epoch.

    Attributes:
        newest: The one that ends last, the least compacted of those; None if there is none.
        reached: The last transaction that a restore of the newest state gets to; 0 if none.
        resumes: The first transaction behind a gap there; 0 if there is none.
        has_snapshot: Whether a full copy is among the files.
        compacted_ms: When each of the files of level 0 arrived that are compacted too, rising;
            there may be a thousand for each of a hundred databases, so nothing else is kept.
        is_small: Whether the whole epoch was listed, with one request.
        oldest: Its oldest restore point; None if there is none, or not all was listed.
    """

    newest: LtxFile | None = None
    reached: int = 0
    resumes: int = 0
    has_snapshot: bool = False
    compacted_ms: array[int] = field(default_factory=lambda: array("q"))
    is_small: bool = True
    oldest: Point | None = None

    def superfluous(self, before_ms: int) -> int:
        """Return how many are compacted and arrived before a moment of the bucket's clock."""
        return bisect_left(self.compacted_ms, before_ms)


def read_files(store: ObjectStore, keys: ReplicaKeys, epoch: int) -> tuple[list[LtxFile], bool]:
    """
    Return the files of one epoch that its chain is worked out from, and whether these are all.

    One request if it is small, else a few.
    """
    folder = keys.epoch(epoch)
    first = [
        ltx_file(info, epoch=epoch, folder=folder) for info in islice(store.list(folder), PAGE)
    ]
    if len(first) < PAGE:
        return [file for file in first if file], True
    return _behind_snapshot(store, keys, epoch), False


def examine(files: list[LtxFile], *, is_small: bool = True) -> Chain:
    """Work out a chain from its files. Pure."""
    if not files:
        return Chain(is_small=is_small)
    newest = max(files, key=lambda file: (file.max_txid, -file.level))
    plan = walk(files, newest.max_txid)
    reached = plan[-1].max_txid if plan else 0
    # The last one that is compacted is kept: what follows begins there.
    compacted = max((f.max_txid for f in files if 0 < f.level < SNAPSHOT_LEVEL), default=0)
    twice = (f.modified_ms for f in files if f.level == 0 and f.max_txid < compacted)
    behind = (file.min_txid for file in files if file.min_txid > reached)
    return Chain(
        newest=newest,
        reached=reached,
        resumes=min(behind, default=0) if reached < newest.max_txid else 0,
        has_snapshot=any(file.level == SNAPSHOT_LEVEL for file in files),
        compacted_ms=array("q", sorted(twice)),
        is_small=is_small,
        oldest=next(iter(restore_points(files)), None) if is_small else None,
    )


def _behind_snapshot(store: ObjectStore, keys: ReplicaKeys, epoch: int) -> list[LtxFile]:
    snapshots = _level(store, keys, epoch, SNAPSHOT_LEVEL, 0)
    # A compacted file may begin before the newest snapshot and end behind it; none is as long
    # as the time between two of them.
    ends = sorted(file.max_txid for file in snapshots)
    since = ends[-2] if len(ends) > 1 else 0
    listed = sorted(store.folders(keys.epoch(epoch)))
    levels = [int(name, 16) for name in listed if name != f"{SNAPSHOT_LEVEL:04x}"]
    lower = [file for level in levels for file in _level(store, keys, epoch, level, since)]
    return [*lower, *snapshots]


def _level(
    store: ObjectStore, keys: ReplicaKeys, epoch: int, level: int, since: int
) -> list[LtxFile]:
    folder = keys.level(epoch, level)
    # A name begins with its first transaction, and is longer than what is given here.
    after = f"{folder}{ltx.hex_txid(since)}" if since else ""
    listed = (
        ltx_file(info, epoch=epoch, folder=keys.epoch(epoch))
        for info in store.list(folder, after=after)
    )
    return [file for file in listed if file]
