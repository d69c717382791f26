"""
A clock that stands still until a test moves it.

Moving it does what the time would do: timers fire and retries start one after the other,
each at its own moment, and the engine comes to rest in between. No real time is waited.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from obelisk_ops.core.clock import Alarmed

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_STEPS_MAX = 100_000


class Settles(Protocol):
    """What must come to rest before the clock is moved on."""

    async def settle(self, *, wait: bool = True) -> None:
        """Return when nothing happens any more by itself; *wait* for activities that run."""
        ...


class MovableClock:
    """See the module; a Clock that an ``Engine`` takes as ``clock=``."""

    def __init__(self, at: datetime = _START) -> None:
        """Set the clock to *at*, which has a time zone."""
        self._now_ms = (at - _EPOCH_START) // timedelta(milliseconds=1)
        self._moved_ms = 0
        self._alarmed: list[Alarmed] = []
        self._engines: list[Settles] = []

    # -- Clock, and HandMoved -----------------------------------------------------------

    def now_ms(self) -> int:
        """See Clock.now_ms."""
        return self._now_ms

    def elapsed_ms(self) -> int:
        """See Clock.elapsed_ms: what it was moved, and what really went by."""
        return self._moved_ms + time.monotonic_ns() // 1_000_000

    def attach(self, alarmed: Alarmed) -> None:
        """See HandMoved.attach."""
        self._alarmed.append(alarmed)

    def detach(self, alarmed: Alarmed) -> None:
        """See HandMoved.detach."""
        if alarmed in self._alarmed:
            self._alarmed.remove(alarmed)

    # -- for tests ------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the time that it shows."""
        return _EPOCH_START + timedelta(milliseconds=self._now_ms)

    def next_due(self) -> datetime | None:
        """Return the next moment that a timer or a retry waits for, if there is one."""
        due = self._next_due_ms()
        return None if due is None else _EPOCH_START + timedelta(milliseconds=due)

    async def advance(  # noqa: PLR0913 - keywords, each with a default
        self,
        delta: timedelta | None = None,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        milliseconds: float = 0,
        wait: bool = True,
    ) -> None:
        """
        Let time go by: what comes due meanwhile happens at its moment, in order.

        Returns when every engine on this clock has come to rest. With ``wait=False`` time
        goes by while activities run; else it stands still until they have ended.

        Raises:
            ValueError: The time would go backwards; see ``jump``.
            AssertionError: An activity does not end, or there is no end to timers.
        """
        delta = (delta or timedelta()) + timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds
        )
        if delta < timedelta():
            raise ValueError(f"the time cannot go back by {-delta}; 'await clock.jump(…)' can")
        await self._advance_to(self._now_ms + delta // timedelta(milliseconds=1), wait=wait)

    async def advance_to(self, moment: datetime) -> None:
        """Let time go by until *moment*; see ``advance``."""
        await self._advance_to((moment - _EPOCH_START) // timedelta(milliseconds=1))

    async def advance_to_next(self) -> datetime:
        """
        Let time go by until the next timer or retry, and return that moment.

        Raises:
            AssertionError: There is none.
        """
        await self._settle()
        due = self._next_due_ms()
        if due is None:
            raise AssertionError("no timer is set and no retry is due: time changes nothing")
        await self._advance_to(due)
        return self.now()

    async def jump(self, delta: timedelta, *, wait: bool = True) -> None:
        """
        Set the clock, forwards or backwards, as an administrator or NTP would.

        What is due by then happens at once, not one after the other.
        """
        await self._settle(wait=wait)
        self._now_ms += delta // timedelta(milliseconds=1)
        self._ring()
        await self._settle(wait=wait)

    def join(self, engine: Settles) -> None:
        """Wait for *engine* whenever the clock is moved."""
        self._engines.append(engine)

    def leave(self, engine: Settles) -> None:
        """Wait for *engine* no more."""
        if engine in self._engines:
            self._engines.remove(engine)

    # -- inside ---------------------------------------------------------------------------

    async def _advance_to(self, target_ms: int, *, wait: bool = True) -> None:
        await self._settle(wait=wait)
        for _ in range(_STEPS_MAX):
            due = self._next_due_ms()
            if due is None or due > target_ms:
                break
            self._set(max(due, self._now_ms))
            self._ring()
            await self._settle(wait=wait)
        else:
            raise AssertionError(
                f"{_STEPS_MAX} timers fired, and {self.now()} is not the end: is there a loop?"
            )
        self._set(max(target_ms, self._now_ms))
        self._ring()
        await self._settle(wait=wait)

    def _set(self, now_ms: int) -> None:
        self._moved_ms += now_ms - self._now_ms
        self._now_ms = now_ms

    def _next_due_ms(self) -> int | None:
        return min(
            (due for due in (a.next_due() for a in self._alarmed) if due is not None),
            default=None,
        )

    def _ring(self) -> None:
        for alarmed in list(self._alarmed):
            alarmed.ring()

    async def _settle(self, *, wait: bool = True) -> None:
        for engine in list(self._engines):
            await engine.settle(wait=wait)
