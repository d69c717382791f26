"""
Which restore point is meant by a wish.

Pure: a wish that cannot be met exactly is refused by name, never met by
something older. The time of a point may have to be fetched, so it is asked for
through a function, and only for the few points that a binary search looks at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NoReturn

from obelisk_ops.core.clock import iso
from obelisk_ops.core.when import At, Latest, Txid, When, show
from obelisk_ops.errors import DamagedObject, ReplicaGap, RestorePointNotFound
from obelisk_ops.replica.catalogue import EpochHistory, Gap, Point, Replica
from obelisk_ops.replica.times import AtOf


def choose(replica: Replica, wish: When, *, now_ms: int, at_of: AtOf) -> Point:
    """
    Return the restore point that *wish* means.

    A moment means the newest state that was captured at or before it, on the
    line of history that leads to the newest state.

    Args:
        replica: What there is.
        wish: What is wanted.
        now_ms: UTC milliseconds; moments after it are refused.
        at_of: When a point was captured; UTC milliseconds.

    Raises:
        RestorePointNotFound: It is in the future, before the oldest, or no point.
        ReplicaGap: What is wanted lies behind missing transactions.
        DamagedObject: The point may be one whose time cannot be read.
    """
    match wish:
        case Txid(txid, epoch):
            return _by_txid(replica, txid, epoch, at_of)
        case At(at_ms):
            return _by_time(replica, at_ms, now_ms, at_of)
        case Latest():
            return _latest(replica, at_of)


def left_behind(replica: Replica, chosen: Point, *, at_ms: int, at_of: AtOf) -> Point | None:
    """
    Return the newest point up to a moment that is on no line to the newest state.

    None if *chosen*, which is meant by that moment, is not older than that.
    """
    lineage = replica.lineage
    after = _at(lineage, lineage.index(chosen) + 1)
    tails = [
        [point for point in history.points if point.orphaned]
        for history in replica.epochs
        # Those before are older, those behind are younger than the moment.
        if chosen.epoch <= history.epoch and (after is None or history.epoch < after.epoch)
    ]
    found = [point for tail in tails if (point := _search(tail, at_ms, at_of)[0])]
    newest = max(found, key=at_of, default=None)
    return newest if newest and at_of(newest) > at_of(chosen) else None


def describe(point: Point, at_of: AtOf) -> str:
    """Write a point so that it can be given to ``--at``, with its time."""
    named = show(Txid(point.txid, point.epoch))
    try:
        return f"{named} ({iso(at_of(point))})"
    except DamagedObject:
        return named


def _latest(replica: Replica, at_of: AtOf) -> Point:
    points = _restorable(replica)
    gap = _gap_behind(replica, points[-1], None)
    if gap is not None:
        _refuse_gap(gap, "the newest state", points[-1], None, at_of)
    return points[-1]


def _by_time(replica: Replica, at_ms: int, now_ms: int, at_of: AtOf) -> Point:
    points = _restorable(replica)
    if at_ms > now_ms:
        _refuse_future(replica.name, at_ms, points[-1], at_of)
    point, after, damage = _search(points, at_ms, at_of)
    if damage is not None and (point is None or at_of(point) < at_ms):
        raise damage
    if point is None:
        raise RestorePointNotFound(
            f"'{replica.name}' cannot be restored to {iso(at_ms)}: that is before the oldest "
            "restore point",
            hint=f"the oldest is {describe(points[0], at_of)}",
        )
    gap = _gap_behind(replica, point, after)
    if gap is not None and at_of(point) < at_ms:
        _refuse_gap(gap, iso(at_ms), point, after, at_of)
    return point


def _search(
    points: Sequence[Point], at_ms: int, at_of: AtOf
) -> tuple[Point | None, Point | None, DamagedObject | None]:
    """
    Return the last point at or before a moment, the first one after it, and what is between.

    A point whose time cannot be read is passed over; it matters only if it lies
    between those two, because then it may be the one that is meant.
    """
    damaged: dict[Point, DamagedObject] = {}
    readable = list(points)
    low, high = 0, len(readable)
    while low < high:
        middle = (low + high) // 2
        try:
            is_later = at_of(readable[middle]) > at_ms
        except DamagedObject as damage:
            damaged[readable.pop(middle)] = damage
            high -= 1
            continue
        low, high = (low, middle) if is_later else (middle + 1, high)
    before, after = _at(readable, low - 1), _at(readable, low)
    first = points.index(before) if before else -1
    last = points.index(after) if after else len(points)
    between = (damaged[point] for point in points[first + 1 : last])
    return before, after, next(between, None)


def _by_txid(replica: Replica, txid: int, epoch: int | None, at_of: AtOf) -> Point:
    _restorable(replica)
    history = replica.current if epoch is None else replica.history(epoch)
    if history is None or not history.points:
        known = [show(Txid(e.points[-1].txid, e.epoch)) for e in replica.epochs if e.points]
        raise RestorePointNotFound(
            f"'{replica.name}' has no restore point in epoch {epoch}",
            hint=f"the newest of each epoch: {', '.join(known)}",
        )
    points = history.points
    index = bisect_right(points, txid, key=lambda point: point.txid) - 1
    before, after = _at(points, index), _at(points, index + 1)
    if before is not None and before.txid == txid:
        return before
    wanted = show(Txid(txid, history.epoch))
    gap = _gap_after(history, before.txid if before else 0)
    if gap is not None and txid <= max(file.max_txid for file in history.files):
        _refuse_gap(gap, wanted, before, after, at_of)
    raise RestorePointNotFound(
        f"'{replica.name}' cannot be restored to {wanted}: {_why_no_point(before, after)}",
        hint=_neighbours(before, after, at_of),
    )


def _restorable(replica: Replica) -> Sequence[Point]:
    points = replica.lineage
    if points:
        return points
    if replica.gaps:
        gap = replica.gaps[-1]
        raise ReplicaGap(
            f"'{replica.name}' cannot be restored: no snapshot is left, and the transactions "
            f"{gap.after_txid + 1} to {gap.before_txid - 1} are missing",
            hint=f"see 'obelisk-ops replica points {replica.name}' for other epochs",
        )
    raise RestorePointNotFound(
        f"'{replica.name}' has no restore point yet",
        hint="nothing was replicated so far; is 'obelisk-ops supervise' running?",
    )


def _gap_behind(replica: Replica, point: Point, after: Point | None) -> Gap | None:
    """Return the gap between two neighbours of the kept history, if there is one."""
    for history in replica.epochs:
        if history.epoch < point.epoch or (after and history.epoch > after.epoch):
            continue
        # A later epoch with a gap at its very beginning has no point of its own.
        reached = point.txid if history.epoch == point.epoch else 0
        gap = _gap_after(history, reached)
        if gap is not None and (history.kept is None or reached < history.kept):
            return gap
    return None


def _gap_after(history: EpochHistory, reached: int) -> Gap | None:
    return next((gap for gap in history.gaps if gap.after_txid == reached), None)


def _at(points: Sequence[Point], index: int) -> Point | None:
    return points[index] if 0 <= index < len(points) else None


def _refuse_future(name: str, at_ms: int, newest: Point, at_of: AtOf) -> NoReturn:
    raise RestorePointNotFound(
        f"'{name}' cannot be restored to {iso(at_ms)}: that is in the future",
        hint=f"the newest restore point is {describe(newest, at_of)}",
    )


def _refuse_gap(
    gap: Gap, wanted: str, before: Point | None, after: Point | None, at_of: AtOf
) -> NoReturn:
    around = _neighbours(before, after, at_of)
    raise ReplicaGap(
        f"{wanted} cannot be restored: the transactions {gap.after_txid + 1} to "
        f"{gap.before_txid - 1} of epoch {gap.epoch} are missing from the bucket",
        hint=f"they may be on their way, try again; {around}" if gap.is_pending else around,
    )


def _why_no_point(before: Point | None, after: Point | None) -> str:
    if after is None:
        return "the newest restore point is before it"
    if before is None:
        return "it is before the oldest restore point"
    return "it was compacted together with its neighbours"


def _neighbours(before: Point | None, after: Point | None, at_of: AtOf) -> str:
    parts = [f"restorable before it: {describe(before, at_of)}"] if before else []
    parts += [f"restorable after it: {describe(after, at_of)}"] if after else []
    return "; ".join(parts) or "nothing around it is restorable"
