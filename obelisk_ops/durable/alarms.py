"""
Calls at a wall-clock time, on one timer of the event loop.

An alarm is set for a moment, and rings when the clock shows it, or when as much time has
really passed as was left when it was set; whichever is first. So a clock that is set
back makes nothing late, one that is set forward is believed, and the time that a machine
sleeps counts.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from obelisk_ops.core.clock import Clock, HandMoved

# The loop's clock stands still while the machine sleeps, and the wall clock may be set:
# look again at least this often.
_LOOK_AGAIN_MS = 1000
_JUMP_MS = 20
_DEAD_MAX = 64  # dropped ones that stay in the heap
_GRAIN_MS = 1


@dataclass(slots=True, eq=False)
class _Alarm:
    """
    One alarm.

    Attributes:
        key: Whose it is.
        rings_at: When it rings at the latest, in elapsed milliseconds.
        due_ms: When it rings at the latest, by the wall clock.
        call: What is done then; None once it was dropped or replaced.
    """

    key: Hashable
    rings_at: int
    due_ms: int
    call: Callable[[], None] | None

    def __lt__(self, other: _Alarm) -> bool:
        return (self.rings_at, self.due_ms) < (other.rings_at, other.due_ms)


class Alarms:
    """Each key has at most one alarm."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[_Alarm] = []
        self._by_key: dict[Hashable, _Alarm] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._moved_by: HandMoved | None = clock if isinstance(clock, HandMoved) else None
        # While a clock is moved by hand only what it shows counts.
        self._elapsed = clock.elapsed_ms if self._moved_by is None else clock.now_ms
        self._ahead_ms = clock.now_ms() - self._elapsed()
        if self._moved_by is not None:
            self._moved_by.attach(self)

    def next_due(self) -> int | None:
        """Return when the next alarm rings, by a clock that is moved; None if none does."""
        while self._heap and self._heap[0].call is None:
            heapq.heappop(self._heap)
        return self._heap[0].rings_at if self._heap else None

    def has(self, key: Hashable) -> bool:
        """Tell whether there is one of this key that has not rung."""
        return key in self._by_key

    def set(
        self, key: Hashable, due_ms: int, call: Callable[[], None], *, since_ms: int = 0
    ) -> None:
        """
        Make *call* at a moment, unless another alarm replaces this one.

        Args:
            key: Whose alarm it is.
            due_ms: The moment; UTC milliseconds.
            call: What to do.
            since_ms: When it was decided, UTC milliseconds: if the clock was set back
                since, the wait is counted from there.
        """
        self.drop(key)
        # Less than nothing, if it is due already: what was due first rings first.
        wait_ms = due_ms - max(self._clock.now_ms(), since_ms)
        alarm = _Alarm(key, self._elapsed() + wait_ms, due_ms, call)
        self._by_key[key] = alarm
        heapq.heappush(self._heap, alarm)
        if self._heap[0] is alarm:
            self._wind()

    def drop(self, key: Hashable) -> None:
        """Forget an alarm, if there is one."""
        found = self._by_key.pop(key, None)
        if found is not None:
            found.call = None
            if len(self._heap) > 2 * len(self._by_key) + _DEAD_MAX:
                self._heap = [alarm for alarm in self._heap if alarm.call is not None]
                heapq.heapify(self._heap)

    def stop(self) -> None:
        """Forget all."""
        self._by_key.clear()
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
        if self._moved_by is not None:
            self._moved_by.detach(self)

    def ring(self) -> None:
        """Make the calls that are due by now, and wait for the next one."""
        self._believe_the_clock()
        elapsed_ms, now_ms = self._elapsed(), self._clock.now_ms()
        while self._heap and self._heap[0].rings_at <= elapsed_ms:
            alarm = heapq.heappop(self._heap)
            if 0 < alarm.due_ms - now_ms <= _GRAIN_MS:  # two clocks, each cut to milliseconds
                alarm.rings_at = elapsed_ms + alarm.due_ms - now_ms
                heapq.heappush(self._heap, alarm)
                continue
            call, alarm.call = alarm.call, None
            if call is not None:
                del self._by_key[alarm.key]
                call()
        self._wind()

    def _believe_the_clock(self) -> None:
        """Let alarms ring sooner, if the clock was set forward since the last look."""
        now_ms, elapsed_ms = self._clock.now_ms(), self._elapsed()
        jump_ms = now_ms - elapsed_ms - self._ahead_ms
        if abs(jump_ms) > _JUMP_MS:
            self._ahead_ms += jump_ms
        if jump_ms > _JUMP_MS:
            for alarm in self._heap:
                alarm.rings_at = min(alarm.rings_at, elapsed_ms + alarm.due_ms - now_ms)
            heapq.heapify(self._heap)

    def _wind(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._heap:
            return
        wait_ms = min(max(self._heap[0].rings_at - self._elapsed(), 0), _LOOK_AGAIN_MS)
        if self._moved_by is None or wait_ms == 0:  # else it is told
            self._handle = self._loop.call_later(wait_ms / 1000, self.ring)
