"""
Who may start an attempt now, and who is next.

An attempt needs a place of its kind (on the loop for ``async def``, a thread for ``def``)
and its queue's leave (concurrency, rate). Who finds none stands in line: in each queue
the higher priority goes first, then whoever came first; queues take turns.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import Write
from obelisk_ops.core.rows import StartRow
from obelisk_ops.durable.flow.attempt import Key
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.work.queues import Queue
from obelisk_ops.durable.work.rates import Rate

T = TypeVar("T")

# While others wait, a call may take a place that has just become free: its workflow goes on
# without a row that says it waited. Every so many times the line goes first all the same.
_PASSING = 8
_DEAD_MAX = 64  # dropped ones that stay in a heap


class Line(Generic[T]):
    """Calls in the order in which they go; one that is dropped goes at once."""

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Key]] = []
        self._live: dict[Key, tuple[int, T]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, key: Key, priority: int, count: int, item: T) -> None:
        """Stand at the end of those of the same priority; *count* grows from call to call."""
        self._live[key] = (count, item)
        heapq.heappush(self._heap, (-priority, count, key))

    def drop(self, key: Key) -> bool:
        """Leave the line; tell whether it stood there."""
        if self._live.pop(key, None) is None:
            return False
        if len(self._heap) > 2 * len(self._live) + _DEAD_MAX:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapq.heapify(self._heap)
        return True

    def highest(self) -> int:
        """Return the priority of who is next; somebody must be there."""
        return -self._first()[0]

    def pop(self) -> tuple[Key, T]:
        """Take who is next; somebody must be there."""
        key = self._first()[2]
        heapq.heappop(self._heap)
        return key, self._live.pop(key)[1]

    def ahead_of(self, key: Key) -> int:
        """Return how many go before a call that stands in this line."""
        entries = sorted(entry for entry in self._heap if self._is_live(entry))
        return [entry[2] for entry in entries].index(key)

    def _first(self) -> tuple[int, int, Key]:
        while not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0]

    def _is_live(self, entry: tuple[int, int, Key]) -> bool:
        found = self._live.get(entry[2])
        return found is not None and found[0] == entry[1]


class Opening(NamedTuple):
    """
    Places that are free in one queue.

    Attributes:
        queue: Its name.
        is_async: For which kind of activities; None for both.
        room: How many.
    """

    queue: str
    is_async: bool | None
    room: int


class Lane(Generic[T]):
    """One queue: its limits, and who waits in it."""

    def __init__(self, queue: Queue, *, is_served: bool = True) -> None:
        self.queue = queue
        self.is_served = is_served
        self.has_limits = queue.concurrency is not None or queue.rate is not None
        self.running = 0
        self.lines: dict[bool, Line[T]] = {True: Line(), False: Line()}  # by is_async
        self.rate = None if queue.rate is None else Rate(queue.name, queue.rate, queue.per_ms)

    def start(self, clock: Clock, elapsed_ms: int) -> None:
        """Count an attempt that starts."""
        self.running += 1
        if self.rate is not None:
            self.rate.note(clock.now_ms(), elapsed_ms)

    def has_place(self) -> bool:
        """Tell whether its concurrency allows one more."""
        limit = self.queue.concurrency
        return limit is None or self.running < limit

    def opens_in_ms(self, now_ms: int) -> int:
        """Return when its rate allows one more; 0 for now."""
        return 0 if self.rate is None else self.rate.opens_in_ms(now_ms)

    def room(self, now_ms: int) -> int | None:
        """Return how many more its limits let start now; None if it has none."""
        limit, rate = self.queue.concurrency, self.rate
        rooms = [] if limit is None else [limit - self.running]
        rooms += [] if rate is None else [rate.room(now_ms)]
        return min(rooms, default=None)

    def is_open(self, now_ms: int) -> bool:
        """Tell whether one more may start now."""
        return self.is_served and self.has_place() and self.opens_in_ms(now_ms) == 0


class Waiting(Generic[T]):
    """
    See the module. ``T`` is whatever the caller wants back for a call that waited.

    Attributes:
        in_line: How many wait in queues that are served.
        has_rates: Whether any queue starts only so many in a time.
    """

    def __init__(
        self, queues: Iterable[Queue], clock: Clock, *, threads: int, coroutines: int
    ) -> None:
        self._clock = clock
        self._room = {True: coroutines, False: threads}  # by is_async
        self._lanes: dict[str, Lane[T]] = {queue.name: Lane(queue) for queue in queues}
        self._order = deque(self._lanes.values())
        self._where: dict[Key, tuple[Lane[T], bool]] = {}
        self.in_line = 0
        self._count = 0
        self._passed = 0
        self._called: Key | None = None
        self._rates = [lane.rate for lane in self._order if lane.rate is not None]
        self.has_rates = bool(self._rates)

    def load(self, starts: Sequence[StartRow]) -> None:
        """Count what the processes before this one have started."""
        now_ms, elapsed_ms = self._clock.now_ms(), self._clock.elapsed_ms()
        for rate in self._rates:
            mine = [row for row in starts if row[0] == rate.queue]
            rate.load(mine, now_ms, elapsed_ms)

    @property
    def has_news(self) -> bool:
        """Whether attempts start that rates count, and that are not on record."""
        return any(rate.has_news for rate in self._rates)

    def ride(self, write: Write) -> None:
        """Put them into the write that is made before they start."""
        for rate in self._rates:
            if rate.has_news:
                rate.ride(write)

    def enter(self, function: Activity[Any, Any], key: Key) -> bool:
        """Take a place for an attempt, if there is one that nobody else is to have."""
        lane = self._lanes.get(function.queue)
        is_async = function.is_async
        if lane is None or self._room[is_async] <= 0:
            return False
        if self.in_line and key != self._called and self._is_behind(lane, function):
            return False
        if lane.has_limits or not lane.is_served:
            now_ms = self._clock.elapsed_ms()
            if not lane.is_open(now_ms):
                return False
            lane.start(self._clock, now_ms)
        self._room[is_async] -= 1
        if self._where:
            self.drop(key)
        return True

    def openings(self) -> Iterator[Opening]:
        """Yield the places of each queue for which nobody stands in line; queues take turns."""
        self._order.rotate(-1)
        for lane in list(self._order):
            kinds = [k for k, line in lane.lines.items() if not line and self._room[k] > 0]
            limit = lane.room(self._clock.elapsed_ms())
            if not lane.is_served or not kinds:
                continue
            if limit is None:
                yield from (Opening(lane.queue.name, k, self._room[k]) for k in kinds)
            elif limit > 0:
                kind = None if len(kinds) > 1 else kinds[0]
                room = min(limit, *(self._room[k] for k in kinds))
                yield Opening(lane.queue.name, kind, room)

    def leave(self, function: Activity[Any, Any]) -> None:
        """Give a place back."""
        self._room[function.is_async] += 1
        lane = self._lanes[function.queue]
        if lane.has_limits:
            lane.running -= 1

    def wait(self, function: Activity[Any, Any], key: Key, item: T) -> bool:
        """Stand in line; tell whether somebody could start by now."""
        self.drop(key)
        lane, is_async = self._lane(function.queue), function.is_async
        self._count += 1
        lane.lines[is_async].add(key, function.priority, self._count, item)
        self._where[key] = (lane, is_async)
        self.in_line += lane.is_served
        return self._room[is_async] > 0 and lane.is_open(self._clock.elapsed_ms())

    def drop(self, key: Key) -> None:
        """Leave the line, if it stands there."""
        found = self._where.pop(key, None)
        if found is not None:
            lane, is_async = found
            lane.lines[is_async].drop(key)
            self.in_line -= lane.is_served

    def admit(self) -> Iterator[T]:
        """Call those who may start, one after the other; each is to ``enter`` when called."""
        is_anyone = True
        while is_anyone and self.in_line:
            is_anyone = False
            self._order.rotate(-1)
            for lane in list(self._order):
                for is_async, line in lane.lines.items():
                    if line and self._room[is_async] > 0 and self._is_open(lane):
                        is_anyone = True
                        yield from self._call(line)

    def opens_in_ms(self) -> int | None:
        """Return when the next rate lets somebody in who waits; None: nobody waits for that."""
        now_ms = self._clock.elapsed_ms()
        waits = [
            lane.opens_in_ms(now_ms)
            for lane in self._order
            if lane.has_place() and any(lane.lines.values())
        ]
        return min((wait for wait in waits if wait > 0), default=None)

    def why(self, key: Key) -> str | None:
        """Say what a call in line waits for; None when it does not stand there."""
        found = self._where.get(key)
        if found is None:
            return None
        lane, is_async = found
        name, ahead = lane.queue.name, lane.lines[is_async].ahead_of(key)
        if not lane.is_served:
            return f"queue {name!r} is not served by this engine"
        if not lane.has_place():
            reason = f"all {lane.queue.concurrency} places of queue {name!r} are taken"
        elif lane.opens_in_ms(self._clock.elapsed_ms()):
            reason = f"queue {name!r} starts {lane.queue.rate} each {lane.queue.per}"
        else:
            reason = "all places on the loop are taken" if is_async else "all threads are taken"
        return f"{reason}; {ahead} before it" if ahead else reason

    def _is_behind(self, lane: Lane[T], function: Activity[Any, Any]) -> bool:
        """Tell whether somebody in line goes before a call that has just come."""
        line = lane.lines[function.is_async]
        if line and lane.has_limits:
            return line.highest() >= function.priority
        if line and line.highest() != function.priority:
            return line.highest() > function.priority
        self._passed += 1
        return self._passed % _PASSING == 0

    def _call(self, line: Line[T]) -> Iterator[T]:
        key, item = line.pop()
        del self._where[key]
        self.in_line -= 1
        self._called = key
        try:
            yield item
        finally:
            self._called = None

    def _is_open(self, lane: Lane[T]) -> bool:
        return not lane.has_limits or lane.is_open(self._clock.elapsed_ms())

    def _lane(self, name: str) -> Lane[T]:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(Queue(name), is_served=False)
        return lane
