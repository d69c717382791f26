"""Running attempts of activities: ``async def`` on the loop, ``def`` in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from obelisk_ops.durable.flow.attempt import Attempt, Key, current, unknown
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.work import isolated
from obelisk_ops.durable.work.begin import Beginning
from obelisk_ops.durable.work.threads import Threads
from obelisk_ops.errors import ActivityTimedOut, HeartbeatTimedOut, OutcomeUnknown

# Of the grace, this is for the clean-up of activities that are cancelled at its end.
_CLEAN_UP_SHARE = 0.1
_CLEAN_UP_MIN_S = 0.05
_CLEAN_UP_MAX_S = 1.0

Report = Callable[[Attempt, bytes | None, BaseException | None], None]
"""Told once for each attempt, on the loop's thread: its result as JSON, or its error."""


class Attempts:
    """
    Everything that runs on behalf of workflows; an attempt that starts has its place.

    Attributes:
        is_starting: Whether code is begun now: what it reports is told before it is let go.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, report: Report,
        left: Callable[[Activity[Any, Any]], None], freed: Callable[[Attempt], None], *,
        threads: int,
    ) -> None:  # fmt: skip
        """
        Run nothing yet.

        Args:
            loop: What ``async def`` runs on.
            report: Told the outcome of each attempt, if it counts.
            left: Told that an attempt of an activity takes no place any more; before the
                report.
            freed: Told which one after it: what follows the report may take the place.
            threads: How many ``def`` run at the same time.
        """
        self._loop = loop
        self._report = report
        self._left = left
        self._freed = freed
        self._pool, self._coroutines = Threads(threads), Beginning(loop)
        self._from_threads: deque[tuple[Attempt, bytes | None, BaseException | None]] = deque()
        self._is_woken = False
        self._running: dict[Key, Attempt] = {}  # whose outcome counts
        self._lingering: dict[Key, list[Attempt]] = {}  # whose outcome does not, any more
        # What the engine was made in. Not what happens to be around when an attempt is
        # started, which may be another activity, with variables of its own.
        self._context = contextvars.copy_context()
        self._when_idle: asyncio.Event = asyncio.Event()
        self._closing = False
        self._closed = False
        self.is_starting = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs whose outcome still counts."""
        return not self._running

    @property
    def is_closing(self) -> bool:
        """Whether nothing new is started."""
        return self._closing

    def is_running(self, key: Key, number: int) -> bool:
        """Return whether this attempt of a call runs, and its outcome counts."""
        found = self._running.get(key)
        return found is not None and found.number == number

    def may_start(self, function: Activity[Any, Any], key: Key) -> bool:
        """Tell whether an attempt may be made now, if there is a place for it."""
        if self._closing:
            return False
        if not self._lingering and key not in self._running:
            return True
        return not self.is_in_the_way(function, key)

    def is_in_the_way(self, function: Activity[Any, Any], key: Key) -> bool:
        """Tell whether the next attempt must wait for one that was given up to end."""
        if key in self._lingering:
            return not function.activity_options.overlap
        return key in self._running

    def lingering(self) -> list[Attempt]:
        """Return the attempts that go on although nobody waits for them."""
        return [attempt for found in self._lingering.values() for attempt in found]

    def start(self, attempt: Attempt) -> None:
        """Run an attempt whose place was taken; not after the end: it is made again."""
        if self._closed:
            return
        self._running[attempt.key] = attempt
        function = attempt.function
        if function.is_limited:
            self._limit(attempt)
        if function.is_async:
            self._begin(attempt)
        else:
            self._pool.run(partial(self._context.copy().run, self._run_thread, attempt))

    def cancel(self, key: Key) -> None:
        """Stop caring for an attempt; a thread goes on, its result is dropped."""
        attempt = self._running.get(key)
        if attempt is not None:
            self._give_up(attempt, "nobody waits for this activity any more")
            self._note_idle()

    async def close(self, grace_s: float) -> None:
        """Start nothing new; give what runs *grace_s* seconds to end, then let go of it."""
        self._closing = True
        clean_up_s = min(max(grace_s * _CLEAN_UP_SHARE, _CLEAN_UP_MIN_S), _CLEAN_UP_MAX_S)
        try:
            if not self.is_idle:
                with suppress(TimeoutError):
                    patience_s = max(grace_s - clean_up_s, 0)
                    await asyncio.wait_for(self._when_idle.wait(), patience_s)
        finally:
            self._closed = True
            tasks = []
            for attempt in [*self._running.values(), *self.lingering()]:
                attempt.over = attempt.over or "the engine was closed"
                self._stop_limits(attempt)
                if attempt.kill is not None:
                    attempt.kill()
                if attempt.task is not None:
                    attempt.task.cancel()
                    tasks.append(attempt.task)
            self._pool.stop()
            self._coroutines.close()
        if tasks:
            await asyncio.wait(tasks, timeout=clean_up_s)

    # -- on the loop -------------------------------------------------------------------

    def _begin(self, attempt: Attempt) -> None:
        """Run an ``async def`` as far as it gets without waiting, and the rest as a task."""
        code, name = self._run_async(attempt), attempt.function.name
        self.is_starting = True
        try:
            attempt.task = self._coroutines.begin(code, name, self._context.copy())
        except BaseException as error:  # noqa: BLE001 - it is the loop's, as of any task
            # Not from here: the others that begin in this round are on record as begun.
            attempt.task = asyncio.Task(_raise(error), loop=self._loop)
        finally:
            self.is_starting = False

    async def _run_async(self, attempt: Attempt) -> None:
        function = attempt.function
        current.set(attempt)
        try:
            args, kwargs = function.codec.decode_input(attempt.input)
            value = await function.function(*args, **kwargs)
            result, attempt.told = function.codec.read_back(value)
        except asyncio.CancelledError as error:
            if self._closing or not self._end_async(attempt, None, error):
                raise
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - recorded as the outcome
            self._end_async(attempt, None, error)
        else:
            if self._running.get(attempt.key) is attempt:
                self._end(attempt, result, None)

    def _end_async(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> bool:
        """Report an end, unless the attempt was given up and is not waited for."""
        if self._running.get(attempt.key) is not attempt:
            return False
        self._end(attempt, result, error)
        return True

    # -- in threads --------------------------------------------------------------------

    def _run_thread(self, attempt: Attempt) -> None:
        current.set(attempt)
        function = attempt.function
        result: bytes | None = None
        caught: BaseException | None = None
        try:
            if function.activity_options.isolation == "process":
                result = isolated.call(attempt)
            else:
                args, kwargs = function.codec.decode_input(attempt.input)
                value = function.function(*args, **kwargs)
                result, attempt.told = function.codec.read_back(value)
        except BaseException as error:  # noqa: BLE001 - recorded as the outcome
            caught = error
        self._from_threads.append((attempt, result, caught))
        if self._is_woken:
            return  # it has not looked yet: it was told to before this was added
        self._is_woken = True
        with suppress(RuntimeError):  # the loop is closed: the outcome stays unknown
            self._loop.call_soon_threadsafe(self._end_threads)

    # Waking the loop costs a system call, and gives up the interpreter lock: once for all
    # results that are there by the time it looks, not for each.

    def _end_threads(self) -> None:
        self._is_woken = False  # first: what is added from now on wakes it again
        while self._from_threads:
            attempt, result, error = self._from_threads.popleft()
            self._pool.done()
            if self._running.get(attempt.key) is attempt:
                self._end(attempt, result, error)
            else:
                self._has_left(attempt)

    # -- both --------------------------------------------------------------------------

    def _end(self, attempt: Attempt, result: bytes | None, error: BaseException | None) -> None:
        del self._running[attempt.key]
        attempt.task = (
            None  # whose context refers to the attempt: else only a collector lets go
        )
        if attempt.limits:
            self._stop_limits(attempt)
        self._left(attempt.function)
        # Of one that was killed because the engine closes the outcome is not known.
        if not (self._closed and attempt.kill is not None):
            self._report(attempt, result, error)
        self._freed(attempt)
        if self._closing:
            self._note_idle()

    def _give_up(self, attempt: Attempt, why: str) -> None:
        """Let its outcome not count any more; it keeps its place until it ends."""
        del self._running[attempt.key]
        self._stop_limits(attempt)
        attempt.over = why
        self._lingering.setdefault(attempt.key, []).append(attempt)
        if attempt.task is not None:
            # Not where its code ends: code that was not begun yet never runs.
            attempt.task.add_done_callback(lambda _: self._has_left(attempt))
            attempt.task.cancel()
        elif attempt.kill is not None:
            attempt.kill()

    def _has_left(self, attempt: Attempt) -> None:
        lingering = self._lingering[attempt.key]
        lingering.remove(attempt)
        if not lingering:
            del self._lingering[attempt.key]
        self._left(attempt.function)
        self._freed(attempt)

    def _note_idle(self) -> None:
        if self._closing and self.is_idle:
            self._when_idle.set()

    # -- limits ------------------------------------------------------------------------

    def _limit(self, attempt: Attempt) -> None:
        options = attempt.function.activity_options
        if options.heartbeat_timeout is not None:
            self._watch(attempt, options.heartbeat_timeout.total_seconds())
        if options.timeout is not None:
            seconds = options.timeout.total_seconds()
            alarm = self._loop.call_later(seconds, self._overdue, attempt)
            attempt.limits = (*attempt.limits, alarm)

    def _overdue(self, attempt: Attempt) -> None:
        if self._running.get(attempt.key) is attempt:
            error = _timed_out(attempt)
            self._give_up(attempt, error.message)
            self._report(attempt, None, error)
            self._note_idle()

    def _watch(self, attempt: Attempt, limit_s: float) -> None:
        attempt.time = self._loop.time
        attempt.beat_at = self._loop.time()
        alarm = self._loop.call_later(limit_s, self._look_after, attempt, limit_s)
        attempt.limits = (alarm,)

    def _look_after(self, attempt: Attempt, limit_s: float) -> None:
        if self._running.get(attempt.key) is not attempt:
            return
        left_s = attempt.beat_at + limit_s - self._loop.time()
        if left_s > 0:
            alarm = self._loop.call_later(left_s, self._look_after, attempt, limit_s)
            attempt.limits = (alarm, *attempt.limits[1:])
            return
        error = _cut_short(attempt, HeartbeatTimedOut, f"gave no heartbeat for {limit_s:g} s")
        self._give_up(attempt, error.message)
        self._report(attempt, None, error)
        self._note_idle()

    @staticmethod
    def _stop_limits(attempt: Attempt) -> None:
        for alarm in attempt.limits:
            alarm.cancel()


async def _raise(error: BaseException) -> None:
    raise error


def _timed_out(attempt: Attempt) -> ActivityTimedOut | OutcomeUnknown:
    limit = attempt.function.activity_options.timeout
    assert limit is not None
    text = f"took longer than {limit.total_seconds():g} s"
    return _cut_short(attempt, ActivityTimedOut, text)


def _cut_short(
    attempt: Attempt, kind: type[ActivityTimedOut], what: str
) -> ActivityTimedOut | OutcomeUnknown:
    name, options = attempt.function.name, attempt.function.activity_options
    if options.at_most_once:
        return unknown(f"{name} {what}", attempt.call_id)
    return kind(f"{name} {what}")
