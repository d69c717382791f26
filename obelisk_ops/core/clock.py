"""The only source of time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What every part that needs the time is given; tests give one that they move."""

    def now_ms(self) -> int:
        """Return UTC milliseconds since the Unix epoch. For stamps, never for deadlines."""
        ...

    def elapsed_ms(self) -> int:
        """Return milliseconds that only move forward, also while the machine sleeps."""
        ...


class Alarmed(Protocol):
    """What waits for moments of a clock."""

    def next_due(self) -> int | None:
        """Return the next moment waited for, UTC milliseconds; None when there is none."""
        ...

    def ring(self) -> None:
        """Do what is due by now."""
        ...


@runtime_checkable
class HandMoved(Protocol):
    """A clock that stands still until somebody moves it, and then tells who waits."""

    def attach(self, alarmed: Alarmed) -> None:
        """Tell *alarmed* whenever the clock was moved."""
        ...

    def detach(self, alarmed: Alarmed) -> None:
        """Tell it no more."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """See Clock.now_ms."""
        return time.time_ns() // 1_000_000

    def elapsed_ms(self) -> int:
        """See Clock.elapsed_ms. CLOCK_BOOTTIME where the system has it."""
        return time.clock_gettime_ns(_BOOTTIME) // 1_000_000


def monotonic_us() -> int:
    """Return microseconds of CLOCK_MONOTONIC: the clock that a service manager compares."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000


def iso(at_ms: int) -> str:
    """Write *at_ms* (UTC milliseconds since the Unix epoch) as ISO 8601 with ``Z``."""
    moment = _EPOCH_START + timedelta(milliseconds=at_ms)  # exact, unlike a float of seconds
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
