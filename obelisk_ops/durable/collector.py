"""
The garbage collector rests while many arrive at once, until they are durable.

A round for many makes some fifty objects for each, all of which live until its commit:
looking for garbage among them again and again would take a third of the time, and find
none. One round of the event loop later the collector works again.
"""

from __future__ import annotations

import gc

#: arrivals of one round
MANY = 32


class Collector:
    """Python's own, as far as one engine is concerned."""

    def __init__(self) -> None:
        self._arrived = 0
        self._rests = False

    def arrived(self) -> None:
        """Count what the next round will do; rest from the 32nd on."""
        self._arrived += 1
        if self._arrived == MANY and gc.isenabled():
            gc.disable()
            self._rests = True

    def work(self) -> None:
        """Go on, now that the round is over."""
        self._arrived = 0
        if self._rests:
            self._rests = False
            gc.enable()
