"""
When the engine's one loop goes round: at most once in each round of the event loop.

Unless what was started is over already and nothing else runs that could share a commit:
then it goes round again at once. A workflow whose steps wait for nothing would never let
go of the event loop like that, so after a moment the others have their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from obelisk_ops.durable.collector import Collector

#: short for others on the same event loop, some steps of one workflow long
_STRETCH_S = 0.001


class Rounds:
    """
    What has arrived, and when it is taken.

    Attributes:
        arrivals: Calls to make in the next round, before its commit.
        is_going: Whether one is made now.
        collector: Rests when many arrive.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, take: Callable[[], None],
        goes_on: Callable[[], bool],
    ) -> None:  # fmt: skip
        """
        Wait for arrivals.

        Args:
            loop: The event loop.
            take: Makes all calls that have arrived, and commits.
            goes_on: Tells, after that, whether there is more that waits for nobody.
        """
        self.arrivals: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.is_going = False
        self.collector = Collector(loop)
        self._loop, self._take, self._goes_on = loop, take, goes_on
        self._next: asyncio.Handle | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing has arrived."""
        return not self.arrivals and self._next is None

    def schedule(self) -> None:
        """See to it that there is a round; something has arrived."""
        if self._next is None:
            self._next = self._loop.call_soon(self.go)
        self.collector.arrived()

    def hurry(self, *, is_alone: bool) -> None:
        """See to it that there is a round: at once, if it is alone and none is due."""
        if is_alone and self._next is None:
            self.go()
        else:
            self.schedule()

    def go(self) -> None:
        """Take all that has arrived, and what comes of it while it waits for nobody."""
        self._next, self.is_going = None, True
        until = self._loop.time() + _STRETCH_S
        try:
            self.collector.round_begins()
            self._take()
            while self._goes_on() and self._loop.time() < until:
                self.collector.round_begins()
                self._take()
        finally:
            self.is_going = False
        if self.arrivals:
            self.schedule()

    def stop(self) -> None:
        """Make none any more by itself."""
        if self._next is not None:
            self._next.cancel()
