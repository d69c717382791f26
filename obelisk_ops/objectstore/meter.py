"""Counts the requests that are really sent, for whom they are sent: each costs money."""

from __future__ import annotations

from contextvars import ContextVar


class Meter:
    """
    A counter of requests.

    Attributes:
        sent: How many were sent, attempts that failed included.
    """

    def __init__(self, whole: Meter | None = None) -> None:
        """Count nothing yet; what is counted here is counted by *whole* too."""
        self.sent = 0
        self._whole = whole

    def count(self) -> None:
        """Count one."""
        self.sent += 1
        if self._whole is not None:
            self._whole.count()


#: For whom the present thread sends.
METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


def count_request(**_: object) -> None:
    """Count a request that is about to be sent, for whomever it is."""
    meter = METER.get()
    if meter is not None:
        meter.count()
