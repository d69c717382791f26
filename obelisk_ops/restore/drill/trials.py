"""
Which points a drill restores. Pure.

The newest one, one by chance, and for each level that these two do not read one that does:
what is never read is never proven.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from obelisk_ops.replica.catalogue import LtxFile, Point, Replica, walk

LATEST, RANDOM = "latest", "random"

#: A file that a later snapshot covers is read by no walk: so many are tried for a level.
_DRAWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """
    One restore of a drill.

    Attributes:
        point: What is restored.
        files: From what, in Litestream's order.
        why: ``latest``, ``random``, or ``level N``.
    """

    point: Point
    files: tuple[LtxFile, ...]
    why: str

    @property
    def levels(self) -> set[int]:
        """The levels that it reads."""
        return {file.level for file in self.files}

    @property
    def download_bytes(self) -> int:
        """Bytes to be read from the bucket."""
        return sum(file.size for file in self.files)


def choose_trials(replica: Replica, newest: Point, draw: Random) -> tuple[Trial, ...]:
    """
    Return the restores of a drill, the most important first.

    Args:
        replica: What there is.
        newest: The point that ``latest`` means.
        draw: Where chance comes from; the same seed gives the same points.
    """
    found = [_trial(replica, newest, LATEST)]
    others = [point for point in replica.lineage if point != newest]
    if others:
        found.append(_trial(replica, draw.choice(others), RANDOM))
    for level in sorted({file.level for epoch in replica.epochs for file in epoch.files}):
        if all(level not in trial.levels for trial in found):
            found += _first_that_reads(replica, level, draw)
    return tuple(found)


def _first_that_reads(replica: Replica, level: int, draw: Random) -> Iterator[Trial]:
    ends = {
        (file.epoch, file.max_txid)
        for epoch in replica.epochs for file in epoch.files if file.level == level
    }  # fmt: skip
    points = [point for point in replica.lineage if (point.epoch, point.txid) in ends]
    for point in draw.sample(points, min(_DRAWS, len(points))):
        trial = _trial(replica, point, f"level {level}")
        if level in trial.levels:
            yield trial
            return


def _trial(replica: Replica, point: Point, why: str) -> Trial:
    history = replica.history(point.epoch)
    files = walk(history.files if history else (), point.txid)
    return Trial(point=point, files=files, why=why)
