"""Numbers out of moments."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def gaps(moments: Sequence[float]) -> list[float]:
    """Return the seconds between neighbours."""
    return [later - earlier for earlier, later in pairwise(moments)]


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds."""
    return {
        "p50_ms": percentile(seconds, 0.5) * 1000,
        "p99_ms": percentile(seconds, 0.99) * 1000,
    }


def prefixed(name: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{name}.{key}": value for key, value in figures.items()}
