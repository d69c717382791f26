"""Durations as people write them (``1m30s``), and back."""

from __future__ import annotations

import re
from datetime import timedelta

from obelisk_ops.errors import WorkflowMisuse

_LONGEST_S = 900 * 366 * 86_400.0
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]{1,9})(ms|[smhd])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_RANK = list(_SECONDS)
_PART_WITH_UNIT = re.compile(r"[0-9]+(?:ms|[smhd])")
_TENTHS_FROM_MS, _TENTHS_UNTIL_MS = 1_000, 59_950


def parse_duration(text: str) -> float:
    """
    Return the seconds that *text* names: ``500ms``, ``1s``, ``6h``, ``1m30s``.

    Units come from large to small, each once, so that ``30s1m`` is a typing
    error and not a duration.

    Raises:
        ValueError: It is not such a text; the message says what to write.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a duration; write it like 500ms, 1s, 1m30s, 6h or 30d")
    parts = _PART.findall(text)
    ranks = [_RANK.index(unit) for _, unit in parts]
    if ranks != sorted(set(ranks)):
        raise ValueError("not a duration; units go from large to small, each once, like 1m30s")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Write *seconds* the way ``parse_duration`` reads it."""
    left_ms = round(seconds * 1000)
    written = ""
    for unit, size in _SECONDS.items():
        count, left_ms = divmod(left_ms, round(size * 1000))
        written += f"{count}{unit}" if count else ""
    return written or "0s"


def rough(span_ms: int) -> str:
    """Write a span of time with two units at most: ``12ms``, ``1.5s``, ``3m12s``, ``2d4h``."""
    span_ms = max(span_ms, 0)
    if span_ms < _TENTHS_FROM_MS:
        return f"{span_ms}ms"
    if span_ms < _TENTHS_UNTIL_MS:
        return f"{span_ms / 1000:.1f}s".replace(".0s", "s")
    return "".join(_PART_WITH_UNIT.findall(format_duration(round(span_ms / 1000)))[:2])


def seconds(duration: timedelta | float) -> float:
    """Return a duration in seconds; a number counts them already."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def milliseconds(duration: timedelta | float) -> int:
    """
    Return a wait in milliseconds, 0 for one that is negative; a number counts seconds.

    Raises:
        WorkflowMisuse: It ends after the year 3000, or is not a number.
    """
    wait_s = seconds(duration)
    if not wait_s <= _LONGEST_S:  # not a number, too
        raise WorkflowMisuse(f"{duration} cannot be waited for: it ends after the year 3000")
    return round(max(wait_s, 0) * 1000)
