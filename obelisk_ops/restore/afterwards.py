"""
Which activities may have run after the moment that was restored.

A copy knows nothing of what came later, and whoever goes on from it does that again. The
newest state in the bucket knows of most of it, and so do the ends of lines that were left
behind: all of them are read where they are. Of what was never shipped nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import apsw

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import DamagedObject, OpsError
from obelisk_ops.inspect import summary
from obelisk_ops.inspect.afterwards import attempts_since
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.summary import InFlight
from obelisk_ops.replica.branches import ends_behind
from obelisk_ops.replica.catalogue import Point, Replica, walk
from obelisk_ops.replica.image import Image
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.restore.service import Plan, Source

ATTEMPTS_MAX = 1000
_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """A state up to which it is known what ran; ``at_ms`` is when it was captured."""

    point: Point
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """
    What is known of the time behind a restore point.

    Attributes:
        attempts: What began, ATTEMPTS_MAX at most, whatever became of it.
        until: The newest state, up to which that is known; None if nothing is.
        orphaned: The ends of lines that were left behind, up to which it is known, too.
        unknown: Why nothing is known; empty if something is.
    """

    attempts: tuple[InFlight, ...] = ()
    until: Until | None = None
    orphaned: tuple[Until, ...] = ()
    unknown: str = ""


def ran_after(source: Source, plan: Plan, copy: Path, clock: Clock) -> After | None:
    """
    Compare a restored copy with what came later; None if it is no workflow database.

    Never fails: what cannot be found out is not known.
    """
    after = None
    try:
        with open_read_only(copy, limit_s=_LIMIT_S) as earlier, earlier:
            if summary.is_workflow_database(earlier):
                after = _compare(source, plan, earlier, clock)
    except OpsError as error:
        after = After(unknown=error.message)
    return after


def _compare(source: Source, plan: Plan, earlier: apsw.Connection, clock: Clock) -> After:
    ends_at_ms = clock.elapsed_ms() + round(_LIMIT_S * 1000)
    replica = read_replica(source.store, source.keys)
    ends = ends_behind(replica, plan.point)
    if not ends:
        return After(unknown="there is no later state in the bucket")
    # One that began before two lines parted is in both.
    found: dict[InFlight, None] = {}
    for end in ends:
        left_s = (ends_at_ms - clock.elapsed_ms()) / 1000
        found |= dict.fromkeys(_attempts(source, replica, end, earlier, left_s))
    times = PointTimes(source.store)
    known = [Until(point=end, at_ms=_at_ms(times, end)) for end in ends]
    return After(
        attempts=tuple(islice(found, ATTEMPTS_MAX)),
        until=next((until for until in known if not until.point.orphaned), None),
        orphaned=tuple(until for until in known if until.point.orphaned),
    )


def _attempts(
    source: Source, replica: Replica, end: Point, earlier: apsw.Connection, limit_s: float
) -> tuple[InFlight, ...]:
    history = replica.history(end.epoch)
    files = walk(history.files if history else (), end.txid)
    with (
        Image(source.store, source.keys, end.epoch, end.txid, files) as image,
        open_in_place(image, source.keys.name, limit_s=limit_s) as later,
    ):
        return tuple(islice(attempts_since(earlier, later), ATTEMPTS_MAX))


def _at_ms(times: PointTimes, end: Point) -> int:
    try:
        return times.at_ms(end)
    except DamagedObject:
        return end.listed_ms  # what knows it better is not needed for the state itself
