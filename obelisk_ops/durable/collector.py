"""
The garbage collector rests for a moment when many arrive at once.

A burst makes some seventy objects for each execution, and they live until its end. What has
ended leaves no garbage that a collector would be needed for: looking for it again and again
would take a third of the time, and find none. Also a single look costs: it goes through all
that has come since the last one. So the rest lasts as long as the burst, within limits.
"""

from __future__ import annotations

import asyncio
import gc

#: arrivals of one round
MANY = 32
#: how often it is looked whether the burst goes on
REST_S = 0.1
#: how many times in a row it may rest: what other code leaves behind meanwhile may be big,
RESTS_MAX = 10
#: or much; this is somewhat more than a thousand executions in flight are
OBJECTS_MAX = 100_000


class Collector:
    """Python's own, as far as one engine is concerned."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived = 0
        self._is_burst = False
        self._rests = 0
        self._alarm: asyncio.TimerHandle | None = None

    def arrived(self, count: int = 1) -> None:
        """Count what the next round will do; from the 32nd on, rest."""
        before = self._arrived
        self._arrived += count
        if before < MANY <= self._arrived:
            self._is_burst = True
            if gc.isenabled():
                gc.disable()
                self._rests = 0
                self._rest()

    def round_begins(self) -> None:
        """Count from the beginning."""
        self._arrived = 0

    def work(self) -> None:
        """Rest no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            gc.enable()

    def _rest(self) -> None:
        self._is_burst = False
        self._rests += 1
        self._alarm = self._loop.call_later(REST_S, self._look)

    def _look(self) -> None:
        made = gc.get_count()[0]  # and not let go of, since it last worked
        if self._is_burst and self._rests < RESTS_MAX and made < OBJECTS_MAX:
            self._rest()
        else:
            self.work()
