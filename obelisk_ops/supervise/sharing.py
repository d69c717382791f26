"""One run of something for all who ask while another one is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Runs something, one at a time; what is shared has begun after everybody asked."""

    def __init__(self, run: Callable[[], Awaitable[T]]) -> None:
        self._run = run
        self._current: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def once(self) -> T:
        """Return what a run returns, or raise what it raises, that begins after this call."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._current))
            # What went wrong is told to those who wait; nobody may wait any more.
            self._next.add_done_callback(lambda run: run.cancelled() or run.exception())
        return await asyncio.shield(self._next)

    async def _after(self, current: asyncio.Task[T] | None) -> T:
        if current is not None:
            await asyncio.wait({current})
        self._current, self._next = self._next, None
        return await self._run()
