"""
Workers that share one database: which of them are dead, and which place a new one takes.

Each has a *row*, and in it a lease, which ends by the clock of the server: no worker's clock
decides. Who takes a row begins a new *term* in it, and fences who had it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

#: how long a lease holds that is not renewed; the statements that renew say the same
TTL_MS: Final = 10_000
#: how long a connection that is not there may take to come again
GRACE_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """
    What is seen of one row.

    Attributes:
        id: Of the row.
        term: How often it was taken.
        is_closed: Whether its worker has let go by itself.
        is_empty: Whether it has left nothing.
        is_keeper: Whether schedules and retention are its own.
        host: Where it runs, or ran.
        pid: Its process there.
        lease: The end of its lease, to tell whether it was renewed.
        left_ms: How long that still holds.
        up_ms: How long the server has been up.
        has_renewed: Whether it has renewed the lease since the server came up.
        is_connected: Whether its connection is there.
        seen_ms: When this was seen, by a clock that is never set.
    """

    id: int
    term: int
    is_closed: bool
    is_empty: bool
    is_keeper: bool
    host: str
    pid: int
    lease: str
    left_ms: int
    up_ms: int
    has_renewed: bool
    is_connected: bool
    seen_ms: int

    @property
    def is_gone(self) -> bool:
        """Whether its connection is not there, though the server would know of it."""
        return not self.is_connected and self.has_renewed

    @property
    def holder(self) -> str:
        """Who it is, for people."""
        return f"pid {self.pid} on {self.host}"


def is_dead(seen: Sighting, before: Sighting | None) -> bool:
    """
    Tell whether a worker is dead; others may go on with what it has left.

    A killed process is known by its connection, which ends with it: missing twice, for a
    connection that was lost comes again. Else the lease decides, unless the server was away
    itself: then all have as long as that again.

    Args:
        seen: How it is now.
        before: How it was at an earlier look, if there was one.
    """
    if seen.is_closed:
        return False
    if seen.left_ms <= 0 and seen.up_ms >= TTL_MS:
        return True
    return (
        seen.is_gone
        and before is not None
        and before.is_gone
        and before.lease == seen.lease
        and seen.seen_ms - before.seen_ms >= GRACE_MS
    )


def to_adopt(seen: Iterable[Sighting], before: Iterable[Sighting], me: int) -> list[Sighting]:
    """Return the rows whose executions another worker is to go on with."""
    earlier = {one.id: one for one in before}
    return [
        one
        for one in seen
        if one.id != me
        and not one.is_empty
        and (one.is_closed or is_dead(one, earlier.get(one.id)))
    ]


def to_take(seen: Sequence[Sighting], before: Sequence[Sighting]) -> Sighting | None:
    """Return the row that a new worker takes; None if none is free."""
    earlier = {one.id: one for one in before}
    free = (
        one
        for one in seen
        if not one.is_connected and (one.is_closed or is_dead(one, earlier.get(one.id)))
    )
    return next(free, None)


def living(seen: Iterable[Sighting]) -> list[Sighting]:
    """Return the workers that are there, as far as one look tells."""
    return [
        one for one in seen
        if not one.is_closed and (one.is_connected or (one.left_ms > 0 and not one.is_gone))
    ]  # fmt: skip
