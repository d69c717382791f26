"""
The garbage collector rests for a moment when many arrive at once.

A burst makes some fifty objects for each execution, and they live until its end. What has
ended leaves no garbage that a collector would be needed for: looking for it again and again
would take a third of the time, and find none.
"""

from __future__ import annotations

import asyncio
import gc

#: arrivals of one round
MANY = 32
#: long enough for a thousand steps, short for what other code may leave behind meanwhile
REST_S = 0.1


class Collector:
    """Python's own, as far as one engine is concerned."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived = 0
        self._alarm: asyncio.TimerHandle | None = None

    def arrived(self) -> None:
        """Count what the next round will do; from the 32nd on, rest."""
        self._arrived += 1
        if self._arrived == MANY and gc.isenabled():
            gc.disable()
            self._alarm = self._loop.call_later(REST_S, self.work)

    def round_begins(self) -> None:
        """Count from the beginning."""
        self._arrived = 0

    def work(self) -> None:
        """Rest no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            gc.enable()
