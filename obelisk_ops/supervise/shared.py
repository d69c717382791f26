"""One piece of work for all who ask while the last one is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Shared:
    """Does *work* again and again, once for all who asked before it began."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def anew(self) -> None:
        """Return when the work was done once, begun after this call; raise what it raises."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._current))
            # What went wrong is told to those who wait; nobody may wait any more.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._next)

    async def _after(self, current: asyncio.Task[None] | None) -> None:
        if current is not None:
            await asyncio.wait({current})
        self._current, self._next = self._next, None
        await self._work()
