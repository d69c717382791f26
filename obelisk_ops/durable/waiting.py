"""Calls that wait for a place to run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from obelisk_ops.durable.execution import Execution


class HasRoom(Protocol):
    """Tells whether an attempt of a kind may find a place."""

    def __call__(self, *, is_async: bool) -> bool:
        """Return it."""
        ...


class Waiting:
    """In their order, apart for ``def`` and ``async def``: neither holds up the other."""

    def __init__(self) -> None:
        self._queues: dict[bool, deque[tuple[Execution, int]]] = {True: deque(), False: deque()}

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def add(self, execution: Execution, n: int, *, is_async: bool) -> None:
        """Queue up a call."""
        self._queues[is_async].append((execution, n))

    def take(self, has_room: HasRoom) -> Iterator[tuple[Execution, int]]:
        """Yield each call at most once, as long as there is room for its kind."""
        for is_async, queue in self._queues.items():
            for _ in range(len(queue)):
                if not has_room(is_async=is_async):
                    break
                yield queue.popleft()
