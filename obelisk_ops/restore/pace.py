"""
How fast a backup may be read: a limit in bytes a second, shared by all lines.

What may be read next is paid for before it is read. So a line waits until what was begun
before it is paid, and in no stretch of time much more is read than the limit allows.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock

from obelisk_ops.core.clock import Clock

_PART_LEAST, _PART_MOST = 16 << 10, 1 << 20
_never = Event()


def reserve(paid_ms: float, *, now_ms: float, size: int, per_s: int) -> tuple[float, float]:
    """
    Return when so many bytes may begin to be read, and until when that is paid for.

    Args:
        paid_ms: Until when what was begun before is.
        now_ms: Now, by the same clock.
        size: How many.
        per_s: How many a second may be.
    """
    begins_ms = max(paid_ms, now_ms)
    return begins_ms, begins_ms + size * 1000 / per_s


def part_bytes(per_s: int | None) -> int:
    """Return how much is read by one request: what is allowed in a second, within bounds."""
    return _PART_MOST if per_s is None else min(max(per_s, _PART_LEAST), _PART_MOST)


class Pace:
    """
    Holds up whoever reads too fast; for many threads.

    Attributes:
        per_s: Bytes a second that may be read.
    """

    def __init__(
        self, per_s: int, clock: Clock, wait: Callable[[float], object] = _never.wait
    ) -> None:
        self.per_s = per_s
        self._clock, self._wait, self._lock = clock, wait, Lock()
        self._paid_ms = 0.0

    def take(self, size: int) -> None:
        """Return when so many bytes may be read."""
        with self._lock:
            now_ms = self._clock.elapsed_ms()
            begins_ms, self._paid_ms = reserve(
                self._paid_ms, now_ms=now_ms, size=size, per_s=self.per_s
            )
        if begins_ms > now_ms:
            self._wait((begins_ms - now_ms) / 1000)
