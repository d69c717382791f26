"""Running attempts of activities: ``async def`` on the loop, ``def`` in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from obelisk_ops.durable.attempt import Attempt, Key, current
from obelisk_ops.durable.functions import Activity
from obelisk_ops.durable.threads import Threads
from obelisk_ops.errors import ActivityTimedOut

_ASYNC_MAX = 10_000
_CANCEL_S = 1.0  # for the clean-up of activities that are cancelled at the end of the grace


Report = Callable[[Attempt, bytes | None, BaseException | None], None]
"""Told once for each attempt, on the loop's thread: its result as JSON, or its error."""


class Attempts:
    """Everything that runs on behalf of workflows, and the room there is for more."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, report: Report, freed: Callable[[], None],
        *, threads: int,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._report = report
        self._freed = freed
        self._room_async = _ASYNC_MAX
        self._room_threads = threads
        self._pool = Threads(threads)
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._threads: dict[Key, int] = {}
        self._overdue_keys: set[Key] = set()  # threads whose outcome no longer counts
        self._limits: dict[Key, asyncio.TimerHandle] = {}
        # What the engine was made in. Not what happens to be around when an attempt is
        # started, which may be another activity, with variables of its own.
        self._context = contextvars.copy_context()
        self._when_idle: asyncio.Event = asyncio.Event()
        self._closing = False
        self._closed = False

    def has_room(self, *, is_async: bool) -> bool:
        """Tell whether an attempt of this kind may find a place."""
        return not self._closing and (self._room_async if is_async else self._room_threads) > 0

    def can_reserve(self, function: Activity[Any, Any], key: Key) -> bool:
        """Tell whether ``reserve`` would find a place now."""
        return self.has_room(is_async=function.is_async) and key not in self._threads

    def is_running(self, key: Key, number: int) -> bool:
        """Return whether this attempt of a call runs, and its outcome counts."""
        return key in self._tasks or self._threads.get(key) == number

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs whose outcome still counts."""
        return not self._tasks and len(self._threads) == len(self._overdue_keys)

    def reserve(self, function: Activity[Any, Any], key: Key) -> bool:
        """Take a place for an attempt; False when there is none, or its last one lingers."""
        if not self.can_reserve(function, key):
            return False
        if function.is_async:
            self._room_async -= 1
        else:
            self._room_threads -= 1
        return True

    def start(self, attempt: Attempt) -> None:
        """Run an attempt whose place was reserved; not after the end: it is made again."""
        if self._closed:
            return
        if attempt.function.is_async:
            run = self._run_async(attempt)
            self._tasks[attempt.key] = self._loop.create_task(run, context=self._context.copy())
            return
        limit = attempt.function.activity_options.timeout
        if limit is not None:
            alarm = self._loop.call_later(limit.total_seconds(), self._overdue, attempt)
            self._limits[attempt.key] = alarm
        self._threads[attempt.key] = attempt.number
        self._pool.run(partial(self._context.copy().run, self._run_thread, attempt))

    def cancel(self, key: Key) -> None:
        """Stop caring for an attempt; a thread goes on, its result is dropped."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
            self._room_async += 1
            self._free()

    async def close(self, grace_s: float) -> None:
        """Start nothing new; give what runs *grace_s* seconds to end, then let go of it."""
        self._closing = True
        try:
            if not self.is_idle:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._when_idle.wait(), grace_s)
        finally:
            self._closed = True
            left = list(self._tasks.values())
            for task in left:
                task.cancel()
            for alarm in self._limits.values():
                alarm.cancel()
            self._pool.stop()
        if left:
            await asyncio.wait(left, timeout=_CANCEL_S)

    async def _run_async(self, attempt: Attempt) -> None:
        function = attempt.function
        current.set(attempt)
        limit = function.activity_options.timeout
        deadline: asyncio.Timeout | None = None
        try:
            args, kwargs = function.codec.decode_input(attempt.input)
            if limit is None:
                value = await function.function(*args, **kwargs)
            else:
                async with asyncio.timeout(limit.total_seconds()) as deadline:
                    value = await function.function(*args, **kwargs)
            result = function.codec.encode_result(value)
        except TimeoutError as error:
            expired = deadline is not None and deadline.expired()
            self._end_async(attempt, None, _timed_out(attempt) if expired else error)
        except asyncio.CancelledError as error:
            if self._closing or not self._end_async(attempt, None, error):
                raise
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - recorded as the outcome
            self._end_async(attempt, None, error)
        else:
            self._end_async(attempt, result, None)

    def _end_async(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> bool:
        """Report an end, unless the attempt was cancelled and its place is another's."""
        if self._tasks.get(attempt.key) is not asyncio.current_task():
            return False
        del self._tasks[attempt.key]
        self._room_async += 1
        self._report(attempt, result, error)
        self._free()
        return True

    def _run_thread(self, attempt: Attempt) -> None:
        current.set(attempt)
        function = attempt.function
        result: bytes | None = None
        caught: BaseException | None = None
        try:
            args, kwargs = function.codec.decode_input(attempt.input)
            result = function.codec.encode_result(function.function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - recorded as the outcome
            caught = error
        try:
            self._loop.call_soon_threadsafe(self._end_thread, attempt, result, caught)
        except RuntimeError:
            return  # the loop is closed: the outcome stays unknown, the log says so

    def _end_thread(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> None:
        self._threads.pop(attempt.key, None)
        self._overdue_keys.discard(attempt.key)
        if attempt.key in self._limits:
            self._limits.pop(attempt.key).cancel()
        self._pool.done()
        self._room_threads += 1
        self._report(attempt, result, error)
        self._free()

    def _overdue(self, attempt: Attempt) -> None:
        if self._threads.get(attempt.key) == attempt.number:
            self._overdue_keys.add(attempt.key)
            self._report(attempt, None, _timed_out(attempt))

    def _free(self) -> None:
        if self._closing:
            if self.is_idle:
                self._when_idle.set()
        else:
            self._freed()


def _timed_out(attempt: Attempt) -> ActivityTimedOut:
    limit = attempt.function.activity_options.timeout
    assert limit is not None
    return ActivityTimedOut(
        f"{attempt.function.name} took longer than {limit.total_seconds():g} s"
    )
