"""The door to what is over: what a store tells of it for retention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from obelisk_ops.core.ports import LogReader, LogStore, StateRow


class Archive(LogReader, Protocol):
    """
    Reading, by anyone.

    A *root* is an execution that has no parent. All that is below one has an id that
    begins with the root's and a slash; but so has what the root has scheduled.
    """

    def finished_roots(self, after: int, upto: int) -> list[StateRow]:
        """Return what is finished and has no parent; after < key <= upto, by key."""
        ...

    def below(self, execution_id: str, before: int, limit: int) -> list[StateRow]:
        """Return what has a parent and an id below this one; key < before, newest first."""
        ...

    def unfinished_below(self, execution_id: str) -> list[StateRow]:
        """Return what of that is not finished."""
        ...

    def newest_roots(self, keep: int) -> dict[str, int]:
        """Return, for each function, the key from which on its *keep* newest roots are."""
        ...

    def weight(self, keys: Sequence[int]) -> tuple[int, int]:
        """Return how many events these executions have, and about how many bytes."""
        ...

    def last_key(self) -> int:
        """Return the largest key in use, by a state or by a log alone; 0 when there is none."""
        ...

    def leftovers(self) -> list[int]:
        """Return the keys of executions that are pruned, and have rows left."""
        ...


class ArchiveStore(LogStore, Archive, Protocol):
    """The owner's side."""
