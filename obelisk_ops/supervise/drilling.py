"""
When which database is drilled. Pure.

One at a time, those first that have waited longest. Each has a place of its own in the time
between two drills, so that a thousand that begin together are not drilled together; and of
all time no more than a tenth is spent on drills.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from obelisk_ops.restore.drill.result import Outcome

#: The first drill of a database, and what spreads those that follow: within a tenth of the
#: time between two.
_SPREAD = 10
#: What proved nothing is tried again, so much sooner.
_RETRY_SOONER = 8
_RETRY_MOST_MS = 3_600_000
#: The rest after a drill, as a multiple of the time it took.
_REST = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    Where a database stands. Times are UTC milliseconds.

    Attributes:
        name: Its name.
        seen_ms: Since when it is looked after.
        last_ms: When its last drill began; None if there was none.
        outcome: How that ended.
        is_well: Whether it is backed up now: of one that is not, a drill proves little.
    """

    name: str
    seen_ms: int
    last_ms: int | None = None
    outcome: Outcome | None = None
    is_well: bool = True


def due_ms(standing: Standing, every_ms: int) -> int:
    """Return when a database is to be drilled; UTC milliseconds."""
    spread = _place(standing.name) * every_ms // _SPREAD // 1_000
    if standing.last_ms is None:
        return standing.seen_ms + spread
    if standing.outcome is Outcome.INCONCLUSIVE:
        return standing.last_ms + min(every_ms // _RETRY_SOONER, _RETRY_MOST_MS)
    return standing.last_ms + every_ms - every_ms // _SPREAD + spread


def next_to_drill(standings: Iterable[Standing], every_ms: int, now_ms: int) -> str | None:
    """Return which database is to be drilled now; None if none is."""
    due = [
        (due_ms(standing, every_ms), standing.name)
        for standing in standings
        if standing.is_well and _is_due(standing, every_ms, now_ms)
    ]
    return min(due)[1] if due else None


def rest_s(took_s: float) -> float:
    """Return how long to rest after a drill."""
    return took_s * _REST


def _is_due(standing: Standing, every_ms: int, now_ms: int) -> bool:
    # A last drill that lies in the future was noted by a clock that was wrong.
    is_future = standing.last_ms is not None and standing.last_ms > now_ms
    return is_future or due_ms(standing, every_ms) <= now_ms


def _place(name: str) -> int:
    """Return a number from 0 to 999 that is always the same for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 1_000
