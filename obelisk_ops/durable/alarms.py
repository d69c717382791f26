"""Calls at a wall-clock time, on one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable

from obelisk_ops.core.clock import Clock, HandMoved

# The loop's clock stands still while the machine sleeps, and the wall clock may be set:
# look again at least this often.
_LOOK_AGAIN_MS = 10_000


class Alarms:
    """Each key has at most one alarm."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[int, int, Hashable]] = []
        self._calls: dict[Hashable, tuple[int, Callable[[], None]]] = {}
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._moved_by: HandMoved | None = clock if isinstance(clock, HandMoved) else None
        if self._moved_by is not None:
            self._moved_by.attach(self)

    def next_due(self) -> int | None:
        """Return when the next alarm rings, UTC milliseconds; None when there is none."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def set(self, key: Hashable, due_ms: int, call: Callable[[], None]) -> None:
        """Make *call* at *due_ms* (UTC milliseconds), unless another alarm replaces this."""
        self._count += 1
        self._calls[key] = (self._count, call)
        heapq.heappush(self._heap, (due_ms, self._count, key))
        if self._heap[0][1] == self._count:
            self._wind()

    def drop(self, key: Hashable) -> None:
        """Forget an alarm, if there is one."""
        self._calls.pop(key, None)

    def stop(self) -> None:
        """Forget all."""
        self._calls.clear()
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
        if self._moved_by is not None:
            self._moved_by.detach(self)

    def ring(self) -> None:
        """Make the calls that are due by now, and wait for the next one."""
        now_ms = self._clock.now_ms()
        while self._heap and self._heap[0][0] <= now_ms:
            alarm = heapq.heappop(self._heap)
            if self._is_current(alarm):
                self._calls.pop(alarm[2])[1]()
        self._wind()

    def _is_current(self, alarm: tuple[int, int, Hashable]) -> bool:
        found = self._calls.get(alarm[2])
        return found is not None and found[0] == alarm[1]

    def _wind(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._heap:
            return
        wait_ms = min(max(self._heap[0][0] - self._clock.now_ms(), 0), _LOOK_AGAIN_MS)
        if self._moved_by is None or wait_ms == 0:  # else it is told
            self._handle = self._loop.call_later(wait_ms / 1000, self.ring)
