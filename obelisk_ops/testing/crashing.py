"""
Deaths of the process, at a chosen commit.

What is on disk at that moment is all that is left: nothing is acknowledged and no effect
happens any more. Code that runs is cancelled, which a real death would not do; whatever
it records is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from obelisk_ops.core.ports import LogStore, Write
from obelisk_ops.errors import OpsError


class Crashed(OpsError):  # not one of the product's errors: only tests meet it
    """The engine died, as a test had asked for."""


Wanted = Callable[[Sequence[Write]], bool]


@dataclass(slots=True)
class _Point:
    """A moment to die: at the *left*-th of the commits that fit, before it or after it."""

    left: int
    fits: Wanted
    is_before: bool


class Deaths:
    """When an engine is to die. It outlives the engine's lives."""

    def __init__(self) -> None:
        self.commits = 0
        self._points: list[_Point] = []

    def add(self, which: int, fits: Wanted, *, is_before: bool) -> None:
        """Die at the *which*-th commit, from now on, of those that fit."""
        self._points.append(_Point(which, fits, is_before))

    @property
    def are_due(self) -> bool:
        """Whether a death was asked for that has not come."""
        return bool(self._points)

    def meet(self, writes: Sequence[Write]) -> bool | None:
        """Count a commit: True to die before it, False after it, None to live on."""
        self.commits += 1
        for point in self._points:
            point.left -= point.fits(writes)
        due = next((point for point in self._points if point.left == 0), None)
        if due is None:
            return None
        self._points.remove(due)
        return due.is_before


class MortalStore:
    """A store that dies when it is told to, and refuses everything after that."""

    def __init__(self, store: LogStore, deaths: Deaths) -> None:
        self._store = store
        self._deaths = deaths
        self._is_dead = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a store can do
        return getattr(self._store, name)

    def commit(self, writes: Sequence[Write]) -> Mapping[int, OpsError]:
        """See LogStore.commit."""
        self._check()
        is_before = self._deaths.meet(writes)
        if is_before is None:
            return self._store.commit(writes)
        if not is_before:
            self._store.commit(writes)
        self._is_dead = True
        self._check()
        raise AssertionError

    def die(self) -> None:
        """Commit nothing any more."""
        self._is_dead = True

    def _check(self) -> None:
        if self._is_dead:
            raise Crashed("the engine crashed here, as the test asked for")


def any_commit(writes: Sequence[Write]) -> bool:
    """Fit every commit."""
    return bool(writes)


def commit_of(kind: str) -> Wanted:
    """Fit commits which hold an event of this kind."""

    def fits(writes: Sequence[Write]) -> bool:
        return any(row[3] == kind for write in writes for row in write.log)

    return fits
