"""
Where a history went on from a point: also on lines that were left behind.

Pure. After a rollback, a takeover or a file that was set back there are several lines; the
newest state descends from one of them, but what ran on the others ran as well.
"""

from __future__ import annotations

from obelisk_ops.replica.catalogue import EpochHistory, Point, Replica


def ends_behind(replica: Replica, point: Point) -> tuple[Point, ...]:
    """Return the last point of each line that goes on from *point*, by epoch."""
    ends = [history.points[-1] for history in replica.epochs if history.points]
    later = [end for end in ends if end != point and _descends(replica, end, point)]
    return tuple(
        end
        for end in later
        if not any(other != end and _descends(replica, other, end) for other in later)
    )


def _descends(replica: Replica, later: Point, earlier: Point) -> bool:
    if later.epoch == earlier.epoch:
        return later.txid >= earlier.txid
    history: EpochHistory | None = replica.history(later.epoch)
    # A parent is always of a lower number: this comes to an end.
    while history is not None and history.parent is not None:
        parent = history.parent
        if parent.epoch == earlier.epoch:
            return parent.txid is None or parent.txid >= earlier.txid
        history = replica.history(parent.epoch)
    return False
