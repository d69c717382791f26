"""
Which turns wait for which barrier. Pure: commits are counted, and nothing is awaited.

A barrier speaks for all commits that were made before it was asked for. While one is under
way, later turns gather for the next one, so that many commits share it. A turn that need
not wait does so only behind an earlier turn of the same execution: their order counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_NOTHING = -1


@dataclass(slots=True, kw_only=True)
class Held(Generic[T]):
    """
    One turn that waits.

    Attributes:
        turn: The turn.
        keys: The executions that it is about.
        need: The commit which has to be safe before it may go.
        since_ms: When it began to wait.
        is_told: Whether those who wait for it were told that it takes too long.
    """

    turn: T
    keys: Collection[int]
    need: int
    since_ms: int
    is_told: bool = False


class Gathering(Generic[T]):
    """What waits, and for what. Times are milliseconds of one clock."""

    def __init__(self) -> None:
        self._written = 0
        self._safe = _NOTHING
        self._asked: int | None = None
        self._held: list[Held[T]] = []
        self._last: dict[int, int] = {}  # of each execution: what its last held turn needs

    def __iter__(self) -> Iterator[T]:
        return (held.turn for held in self._held)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._held

    @property
    def is_safe(self) -> bool:
        """Whether the last commit is known to be safe."""
        return self._safe >= self._written

    def holds(self, key: int) -> bool:
        """Tell whether a turn of an execution waits."""
        return key in self._last

    def wrote(self) -> None:
        """Count a commit."""
        self._written += 1

    def place(self, turn: T, keys: Collection[int], *, waits: bool, now_ms: int) -> bool:
        """Return whether a turn of the last commit may go at once; otherwise hold it."""
        last = self._last
        need = max((last[key] for key in keys if key in last), default=_NOTHING)
        if waits:
            need = self._written
        if need <= self._safe:
            return True
        for key in keys:
            last[key] = need
        self._held.append(Held(turn=turn, keys=keys, need=need, since_ms=now_ms))
        return False

    def begin(self) -> bool:
        """Return whether a barrier is to be asked for now; if so, for all commits so far."""
        if self._asked is not None or not self._held:
            return False
        self._asked = self._written
        return True

    def failed(self) -> None:
        """Note that the barrier was not passed."""
        self._asked = None

    def passed(self) -> list[T]:
        """Note that it was; return the turns that may go, in their order."""
        assert self._asked is not None
        self._safe, self._asked = self._asked, None
        free = [held for held in self._held if held.need <= self._safe]
        self._held = [held for held in self._held if held.need > self._safe]
        for held in free:
            for key in held.keys:
                if self._last.get(key, self._written + 1) <= self._safe:
                    del self._last[key]
        return [held.turn for held in free]

    def late(self, timeout_ms: float, now_ms: int) -> list[Held[T]]:
        """Return what has waited for so long, and note that it was told."""
        found = [held for held in self._held if now_ms - held.since_ms >= timeout_ms]
        for held in found:
            held.is_told = True
        return found

    def next_late_ms(self, timeout_ms: float, now_ms: int) -> float | None:
        """Return in how many milliseconds to look for what is late; None if nothing waits."""
        if not self._held:
            return None
        untold = (held.since_ms for held in self._held if not held.is_told)
        # Others may have begun to wait for what was late before: they are told in their turn.
        return max(0.0, min(untold, default=now_ms) + timeout_ms - now_ms)

    def give_up(self) -> list[T]:
        """Let go of all that waits, and return it."""
        turns = [held.turn for held in self._held]
        self._held, self._asked = [], None
        self._last.clear()
        return turns
