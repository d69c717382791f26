"""Where attempts are made: places and lines for them, heartbeats, what they print."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import BeatRow, LogStore, Write
from obelisk_ops.core.words import counted
from obelisk_ops.durable.alarms import Alarms
from obelisk_ops.durable.flow.attempt import Attempt, Key
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.options import DEFAULT_QUEUE
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.tether import Tether
from obelisk_ops.durable.work.attempts import Attempts, Report
from obelisk_ops.durable.work.beats import Beats
from obelisk_ops.durable.work.crashes import refuse_crash_loop
from obelisk_ops.durable.work.elsewhere import Elsewhere
from obelisk_ops.durable.work.output import LIMIT_BYTES, Capture, Output, rows
from obelisk_ops.durable.work.queues import Queue
from obelisk_ops.durable.work.waiting import Opening, Waiting

_COROUTINES_MAX = 10_000
_ALARM = "queues"


@dataclass(frozen=True, slots=True)
class Bench:
    """
    How much may run at the same time.

    Attributes:
        threads: ``def`` activities.
        queues: Which queues are served, and their limits.
        output_bytes: How much of what one attempt prints is kept.
        max_crashes: How often a call may end with the process before it is parked.
        is_shared: Whether other workers may make attempts, too.
    """

    threads: int = 64
    queues: tuple[Queue, ...] = (Queue(DEFAULT_QUEUE),)
    output_bytes: int = LIMIT_BYTES
    max_crashes: int = 10
    is_shared: bool = False


class Caller(Protocol):
    """
    Whose call stands in line.

    Attributes:
        key: Of the execution.
    """

    key: int


StartNext = Callable[[Any, int], None]
"""Records and starts the next attempt of call n of a caller, if it is open."""


class Workshop:
    """See the module. Used by the loop's thread."""

    def __init__(
        self, bench: Bench, clock: Clock, alarms: Alarms, *, report: Report,
        post: Callable[..., None], start_next: StartNext,
    ) -> None:  # fmt: skip
        """
        Open, with nothing to do.

        Args:
            bench: How much may run at the same time.
            clock: For rates, and the moments of what is written down.
            alarms: To be woken when a rate allows more.
            report: Told of each outcome that counts.
            post: Does something in the next round, before its commit.
            start_next: Records and starts the next attempt of a call, if it is open.
        """
        loop = asyncio.get_running_loop()
        self._clock = clock
        self._alarms = alarms
        self._post = post
        self._start_next = start_next
        self._output_bytes = bench.output_bytes
        self._max_crashes = bench.max_crashes
        self.follows_crash = False  # whether the last owner of the database was killed
        served = [queue.name for queue in bench.queues]
        self.elsewhere = Elsewhere(served, lambda: post(_nothing), is_there=bench.is_shared)
        self._waiting: Waiting[tuple[StartNext, Any, int]] = Waiting(
            bench.queues, clock, threads=bench.threads, coroutines=_COROUTINES_MAX
        )
        self._attempts = Attempts(
            loop, report, self._waiting.leave, self._has_freed, threads=bench.threads
        )
        self._behind: dict[
            Key, tuple[StartNext, Any]
        ] = {}  # each waits for its own last attempt to end
        self._held: dict[Key, Attempt] = {}  # on record as started, and came too late for it
        self._tether = Tether()
        self._until_ms: int | None = None  # of the tether: read at every step
        self._beats = Beats(loop, clock, lambda: post(_nothing))
        self._capture = Capture()
        # Bound once, not for each attempt: this is on the way of every step.
        self._heard, self._noted = self._beats.heard, self._wrote

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs whose outcome still counts."""
        return self._attempts.is_idle and not self._held

    @property
    def is_starting(self) -> bool:
        """Whether the code of an attempt is begun now, by whoever is not done yet."""
        return self._attempts.is_starting

    def load(self, store: LogStore) -> None:
        """Take over the heartbeats that the last process has left, and what it has started."""
        self._waiting.load(store.starts())
        beats = store.last_beats()
        if beats:
            self._beats.load(beats, [row.key for row in store.unfinished()])

    def learn(self, beats: Sequence[BeatRow]) -> None:
        """Take over heartbeats that came with their executions; of calls here more is known."""
        new = [row for row in beats if row[:2] not in self._beats.last]
        self._beats.load(new, [row[0] for row in new])

    async def close(self, grace_s: float) -> None:
        """Start nothing new; give what runs *grace_s* seconds to end."""
        try:
            await self._attempts.close(grace_s)
        finally:
            self._beats.stop()
            self._capture.end()

    # -- the right to act --------------------------------------------------------------

    @property
    def is_shut(self) -> bool:
        """Whether the right to start anything is over, or must be taken for over."""
        return self._until_ms is not None and self._clock.elapsed_ms() >= self._until_ms

    def tie(self, tether: Tether) -> None:
        """Be told how long anything may be started; what waits for that goes on."""
        self._tether, self._until_ms = tether, tether.until_ms
        if self.is_shut or not (self._held or self._waiting.in_line):
            return
        held, self._held = self._held, {}
        for attempt in held.values():
            self.start(attempt)
        self._post(self._fill)

    # -- places ------------------------------------------------------------------------

    def enter(self, function: Activity[Any, Any], key: Key) -> bool:
        """Take a place for an attempt; False when it has to wait for one."""
        if self._until_ms is not None and self.is_shut:
            return False
        return self._attempts.may_start(function, key) and self._waiting.enter(function, key)

    def enter_beside(self, function: Activity[Any, Any], key: Key) -> bool:
        """Do the same where other workers make attempts, too: their turn comes now and then."""
        return not self.elsewhere.is_next(function.queue) and self.enter(function, key)

    def offer(self, write: Write, execution_id: str, key: Key, pending: Pending) -> bool:
        """Offer an attempt that finds no place to other workers, if that helps."""
        function = pending.function
        if isinstance(function, Activity) and self._attempts.is_in_the_way(function, key):
            return False  # it is to wait for the thread of the one before it
        return self.elsewhere.offer(write, execution_id, key, pending)

    def leave(self, function: Activity[Any, Any]) -> None:
        """Give back a place that was taken for an attempt which is not made."""
        self._waiting.leave(function)
        if self._waiting.in_line:
            self._post(self._fill)

    def wait(
        self, caller: Caller, n: int, function: Activity[Any, Any],
        start: StartNext | None = None,
    ) -> None:  # fmt: skip
        """Let a call stand in line; it is started when it is its turn."""
        key, start = (caller.key, n), start or self._start_next
        if self._attempts.is_in_the_way(function, key):
            self._behind[key] = start, caller
        elif self._waiting.wait(function, key, (start, caller, n)) and not self.is_shut:
            self._post(self._fill)  # a place was freed while this became durable
        else:
            self._wake_for_rates()

    def why(self, key: Key) -> str | None:
        """Say what a call waits for that wants to start, or None."""
        if key in self._behind:
            return "the thread of its last attempt, which was given up, still runs"
        if self.is_shut and (key in self._held or self._waiting.why(key) is not None):
            return self._tether.why
        reason, lingering = self._waiting.why(key), len(self._attempts.lingering())
        if reason is not None and lingering:
            many = counted(lingering, "attempt")
            runs = "runs" if lingering == 1 else "run"
            return f"{reason}; {many} of calls that were given up {runs} on"
        return reason

    def openings(self) -> Iterator[Opening]:
        """Yield for how many tasks of which queues there are places, and nobody before them."""
        if not (self._attempts.is_closing or self.is_shut):
            yield from self._waiting.openings()

    def lingering(self) -> list[Attempt]:
        """Return the attempts that go on although nobody waits for them."""
        return self._attempts.lingering()

    # -- attempts ----------------------------------------------------------------------

    def start(self, attempt: Attempt) -> None:
        """Run an attempt whose place was taken, and that is on record as started."""
        if self._until_ms is not None and self.is_shut:
            # The machine may have slept since the place was taken.
            self._held[attempt.key] = attempt
            return
        if not self._capture.has_begun:
            self._capture.begin()
        attempt.on_beat, attempt.on_output = self._heard, self._noted
        if self._beats.last:
            attempt.last_details = self._beats.last.get(attempt.key)
        self._attempts.start(attempt)

    def is_running(self, key: Key, number: int) -> bool:
        """Return whether this attempt of a call is made, and its outcome counts."""
        if self.elsewhere.is_made(key, number):
            return True
        held = self._held.get(key)
        if held is not None and held.number == number:
            return True
        return self._attempts.is_running(key, number)

    def is_too_often(self, crashes: int) -> bool:
        """Tell whether a call that has ended with its process so often is not tried again."""
        return crashes >= self._max_crashes

    def note_crash(self, key: Key, call_id: str, pending: Pending, *, was_parked: bool) -> None:
        """
        Take over a call whose attempt did not end before its process did.

        Args:
            key: Which call.
            call_id: Its id.
            pending: The call.
            was_parked: Whether its execution was parked since: the crash is not the last
                owner's, and still not on record.

        Raises:
            CrashLoop: That was once too often.
        """
        has_crashed = key in self.elsewhere.crashed
        pending.crashes += self.follows_crash or was_parked or has_crashed
        refuse_crash_loop(call_id, pending, self._max_crashes)

    def drop(self, key: Key) -> None:
        """Forget a call that nobody waits for any more."""
        if self.elsewhere.open:
            self.elsewhere.drop(key)
        self.abandon(key)

    def abandon(self, key: Key) -> None:
        """Do no more for a call here."""
        held = self._held.pop(key, None) if self._held else None
        if held is not None:
            self.leave(held.function)
        self._attempts.cancel(key)
        self._waiting.drop(key)
        self._behind.pop(key, None)
        self._beats.dropped(key)

    # -- claimed tasks -----------------------------------------------------------------

    def remember(self, key: Key, details: bytes) -> None:
        """Know what a call whose task was claimed has said last."""
        self._beats.last[key] = details

    def forget(self, key: Key) -> None:
        """Know nothing of a call any more; it is another worker's."""
        self._beats.forget(key)

    # -- what is written besides -------------------------------------------------------

    def ended(self, attempt: Attempt, write: Write, *, is_open: bool) -> None:
        """Add to the write of an outcome what was said; *is_open*: another attempt follows."""
        attempt.over = attempt.over or "this attempt has ended"
        if self.elsewhere.open and attempt.on_end is None:
            self.elsewhere.ended(attempt.key, attempt.number, write, is_open=is_open)
        if attempt.output is not None:
            pieces = attempt.output.close()
            write.outputs = [*write.outputs, *rows(attempt.key, attempt.number, pieces)]
        if attempt.details is not None or self._beats.last:
            self._beats.ended(attempt, write, is_open=is_open)

    @property
    def has_news(self) -> bool:
        """Whether a commit could take something along."""
        waiting = self._waiting
        is_told = self._beats.has_news or self.elsewhere.has_news
        return is_told or (waiting.has_rates and waiting.has_news)

    def ride(self, write: Write) -> None:
        """Let heartbeats, and the starts that rates count, ride along."""
        if self._waiting.has_news:
            self._waiting.ride(write)
        if self.elsewhere.has_news:
            self.elsewhere.ride(write)
        if self._beats.has_news:
            self._beats.ride(write, last=self._attempts.is_closing)

    # -- inside ------------------------------------------------------------------------

    def _has_freed(self, attempt: Attempt) -> None:
        behind = self._behind.pop(attempt.key, None) if self._behind else None
        if behind is not None:
            self._post(*behind, attempt.key[1])
        if self._waiting.in_line:
            self._post(self._fill)
        elif self.elsewhere.overflow and self.elsewhere.open:
            self.elsewhere.freed()

    def _fill(self) -> None:
        if self._attempts.is_closing or self.is_shut:
            return
        for start, caller, n in self._waiting.admit():
            start(caller, n)
        self._wake_for_rates()

    def _wake_for_rates(self) -> None:
        wait_ms = self._waiting.opens_in_ms() if self._waiting.in_line else None
        if wait_ms is not None:
            due_ms = self._clock.now_ms() + wait_ms
            self._alarms.set(_ALARM, due_ms, lambda: self._post(self._fill))

    def _wrote(self, attempt: Attempt, stream: str, text: str) -> None:
        if attempt.output is None:
            attempt.output = Output(self._output_bytes)
        attempt.output.add(stream, self._clock.now_ms(), text)


def _nothing() -> None:
    """Be a reason to commit."""
