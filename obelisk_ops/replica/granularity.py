"""How close together restore points are, the further back one looks. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS

#: Ages at which Litestream merges or forgets, or that people think in.
_AGES_MS = (
    5 * _MINUTE_MS, _HOUR_MS, 6 * _HOUR_MS, _DAY_MS, 7 * _DAY_MS, 30 * _DAY_MS, 365 * _DAY_MS,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """
    The restore points of some ages.

    Attributes:
        until_age_ms: No point is older; None for no limit.
        since_age_ms: Every point is older, but for the first band, which begins with 0.
        points: How many there are; never 0.
        typical_ms: The median of the time between one and the one before it. What is longer
            is mostly rest: nothing changed meanwhile. None if only the oldest point is here.
        longest_ms: The longest such time; None likewise.
    """

    since_age_ms: int
    until_age_ms: int | None
    points: int
    typical_ms: int | None
    longest_ms: int | None


def granularity(times_ms: Iterable[int], now_ms: int) -> tuple[Band, ...]:
    """
    Return how close together points are, the youngest first; bands without any are left out.

    Args:
        times_ms: When the points of one line of history were captured, in any order.
        now_ms: The present; points of the future count as young.
    """
    ordered = sorted(times_ms)
    before = [None, *(later - earlier for earlier, later in pairwise(ordered))]
    held: dict[int, list[int | None]] = {}
    for at_ms, distance in zip(ordered, before, strict=False):
        held.setdefault(bisect_left(_AGES_MS, now_ms - at_ms), []).append(distance)
    return tuple(_band(place, held[place]) for place in sorted(held))


def _band(place: int, found: list[int | None]) -> Band:
    distances = [distance for distance in found if distance is not None]
    return Band(
        since_age_ms=_AGES_MS[place - 1] if place else 0,
        until_age_ms=_AGES_MS[place] if place < len(_AGES_MS) else None,
        points=len(found),
        typical_ms=median_low(distances) if distances else None,
        longest_ms=max(distances, default=None),
    )
