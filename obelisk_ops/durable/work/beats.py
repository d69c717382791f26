"""Heartbeats of running attempts: kept for the next attempt, written now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import BeatRow, Write
from obelisk_ops.durable.flow.attempt import Attempt, Key

_EACH_MS = 1000


class Beats:
    """
    The last heartbeat of every open call. Used by the loop's thread, but for ``heard``.

    They ride along with commits that are made anyway; when there is none, one is made.
    Of each call one is written per second at most.

    Attributes:
        last: Their details, JSON.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, commit_soon: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._commit_soon = commit_soon
        self.last: dict[Key, bytes] = {}
        self._unwritten: dict[Key, Attempt] = {}
        self._written_at: dict[Key, int] = {}
        self._gone: list[Key] = []
        self._timer: asyncio.TimerHandle | None = None

    def load(self, rows: Iterable[BeatRow], unfinished: Iterable[int]) -> None:
        """Take over what the last process has left."""
        open_ = set(unfinished)
        for key, n, _attempt, _at, body in rows:
            if key in open_:
                self.last[key, n] = body.encode()
            else:
                self._gone.append((key, n))

    @property
    def has_news(self) -> bool:
        """Whether a commit could take something along."""
        return bool(self._unwritten or self._gone)

    def heard(self, attempt: Attempt) -> None:
        """Take in a heartbeat, in any thread."""
        with suppress(RuntimeError):  # the loop is closed, and a thread lingers
            self._loop.call_soon_threadsafe(self._note, attempt)

    def ride(self, write: Write, *, last: bool = False) -> None:
        """Put into a write what is due; with *last*, all there is."""
        now_ms = self._clock.elapsed_ms()
        due = [
            (key, attempt)
            for key, attempt in self._unwritten.items()
            if last or self._written_at.get(key, now_ms - _EACH_MS) <= now_ms - _EACH_MS
        ]
        for key, attempt in due:
            self._put(key, attempt, write)
        if self._gone:
            write.beats_done, self._gone = [*write.beats_done, *self._gone], []
        if self._unwritten and not last:
            self._wind()

    def ended(self, attempt: Attempt, write: Write, *, is_open: bool) -> None:
        """Note the end of an attempt, in the write that records it."""
        key = attempt.key
        if is_open:
            if attempt.details is not None:
                self.last[key] = attempt.details
                self._put(key, attempt, write)
            return
        self._unwritten.pop(key, None)
        if self.last.pop(key, None) is not None:
            self._written_at.pop(key, None)
            write.beats_done = [*write.beats_done, key]

    def dropped(self, key: Key) -> None:
        """Note that a call is not open any more."""
        self._unwritten.pop(key, None)
        if self.last.pop(key, None) is not None:
            self._written_at.pop(key, None)
            self._gone.append(key)

    def forget(self, key: Key) -> None:
        """Leave what is written of a call as it is."""
        self.last.pop(key, None)
        self._unwritten.pop(key, None)
        self._written_at.pop(key, None)

    def stop(self) -> None:
        """Write nothing more by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self, attempt: Attempt) -> None:
        attempt.is_noted = False
        if attempt.over or attempt.details is None:
            return
        self.last[attempt.key] = attempt.details
        self._unwritten[attempt.key] = attempt
        self._wind()

    def _put(self, key: Key, attempt: Attempt, write: Write) -> None:
        assert attempt.details is not None
        self._unwritten.pop(key, None)
        self._written_at[key] = self._clock.elapsed_ms()
        body = attempt.details.decode()
        write.beats = [*write.beats, (*key, attempt.number, self._clock.now_ms(), body)]

    def _wind(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_EACH_MS / 1000, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._unwritten:
            self._commit_soon()
