"""
Workers that share one database: which of them are dead, and which place a new one takes.

Each has a *row*, and in it a lease, which ends by the clock of the server: no worker's clock
decides. Who takes a row begins a new *term* in it, and fences who had it before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

#: how long a lease holds that is not renewed; the statements that renew say the same
TTL_MS: Final = 10_000
#: how often a worker at rest looks at the others, and renews its own lease
LOOK_MS: Final = 4_000
#: how long a connection that is not there may take to come again
GRACE_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """
    What is seen of one row.

    Attributes:
        id: Of the row.
        term: How often it was taken.
        is_closed: Whether its worker has let go by itself.
        is_empty: Whether it has left nothing.
        is_keeper: Whether schedules and retention are its own.
        host: Where it runs, or ran.
        pid: Its process there.
        lease: The end of its lease, to tell whether it was renewed.
        left_ms: How long that still holds.
        up_ms: How long the server has been up.
        has_renewed: Whether it has renewed the lease since the server came up.
        is_connected: Whether its connection is there.
        is_pooled: Whether nothing is known of that: a pooler is between. Its lease alone tells.
        functions: The workflows that it serves.
        seen_ms: When this was seen, by a clock that is never set.
    """

    id: int
    term: int
    is_closed: bool
    is_empty: bool
    is_keeper: bool
    host: str
    pid: int
    lease: str
    left_ms: int
    up_ms: int
    has_renewed: bool
    is_connected: bool
    is_pooled: bool
    functions: frozenset[str]
    seen_ms: int

    @property
    def is_gone(self) -> bool:
        """Whether its connection is not there, though the server would know of it."""
        return not self.is_connected and self.has_renewed and not self.is_pooled

    @property
    def holder(self) -> str:
        """Who it is, for people."""
        return f"pid {self.pid} on {self.host}"


def is_dead(seen: Sighting, before: Sighting | None) -> bool:
    """
    Tell whether a worker is dead; others may go on with what it has left.

    A killed process is known by its connection, which ends with it: missing twice, for a
    connection that was lost comes again. Else the lease decides, unless the server was away
    itself: then all have as long as that again.

    Args:
        seen: How it is now.
        before: How it was at an earlier look, if there was one.
    """
    if seen.is_closed:
        return False
    if seen.left_ms <= 0 and seen.up_ms >= TTL_MS:
        return True
    return (
        seen.is_gone
        and before is not None
        and before.is_gone
        and before.lease == seen.lease
        and seen.seen_ms - before.seen_ms >= GRACE_MS
    )


def to_adopt(
    seen: Iterable[Sighting], before: Iterable[Sighting], me: int, there_ms: int = TTL_MS
) -> list[Sighting]:
    """
    Return the rows whose executions another worker is to go on with.

    Args:
        seen: How all are now.
        before: How they were at the look before.
        me: The row of who is to adopt.
        there_ms: For how long the server has been there for that one. Whoever was cut off
            from it may not have been the only one: the others have a lease's time to return.
    """
    earlier = {one.id: one for one in before}
    return [
        one
        for one in seen
        if one.id != me
        and not one.is_empty
        and (one.is_closed or (there_ms >= TTL_MS and is_dead(one, earlier.get(one.id))))
    ]


def to_take(seen: Sequence[Sighting], before: Sequence[Sighting]) -> Sighting | None:
    """Return the row that a new worker takes; None if none is free."""
    earlier = {one.id: one for one in before}
    free = (
        one
        for one in seen
        if not one.is_connected and (one.is_closed or is_dead(one, earlier.get(one.id)))
    )
    return next(free, None)


def to_give(seen: Iterable[Sighting], me: int, function: str) -> Sighting | None:
    """Return the worker to which executions of a workflow go that is not served here."""
    others = (one for one in living(seen) if one.id != me and function in one.functions)
    return max(others, key=lambda one: one.left_ms, default=None)


def next_look_ms(seen: Iterable[Sighting], me: int) -> int:
    """Return when a worker at rest looks again: sooner, if another one may be dead."""
    others = [one for one in seen if one.id != me and not one.is_empty and not one.is_closed]
    return GRACE_MS if any(one.is_gone for one in others) else LOOK_MS


def to_call(seen: Iterable[Sighting], before: Iterable[Sighting], me: int) -> list[int]:
    """Return the rows of workers that are to show that they live: they are gone since now."""
    earlier = {one.id for one in before if one.is_gone}
    return [
        one.id for one in seen
        if one.id != me and one.is_gone and not one.is_closed and one.id not in earlier
    ]  # fmt: skip


def living(seen: Iterable[Sighting]) -> list[Sighting]:
    """Return the workers that are there, as far as one look tells."""
    return [
        one for one in seen
        if not one.is_closed and (one.is_connected or (one.left_ms > 0 and not one.is_gone))
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What a worker sees when it renews its lease.

    Attributes:
        workers: All rows.
        has_letters: Whether anything waits in the mailbox.
        gifts: How often others have given it executions.
        was_away: Whether it had lost its connection since the last look, or its lease was over.
    """

    workers: Sequence[Sighting]
    has_letters: bool
    gifts: int
    was_away: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """
    What was taken over from another worker.

    Attributes:
        keys: Of the executions.
        is_keeper: Whether it was the keeper.
    """

    keys: frozenset[int]
    is_keeper: bool


class Shared(Protocol):
    """
    What a store can that several workers share.

    Attributes:
        id: Of the row of this worker.
        is_keeper: Whether schedules and retention are its own.
        commits: How many it has made.
    """

    id: int
    is_keeper: bool
    commits: int

    def look(self, functions: Collection[str]) -> Look:
        """Renew the lease, say what is served here, and see how the others are."""
        ...

    def adopt(self, row: Sighting) -> Adopted | None:
        """
        Take over what a worker has left, and fence it.

        Returns:
            None when it is as it was no more.

        Raises:
            StorageUnavailable: It may have been done.
        """
        ...

    def give(self, keys: Collection[int], to: int) -> bool:
        """Give unfinished executions to another worker; False when it is not there."""
        ...

    def call(self, rows: Collection[int]) -> None:
        """Let workers show that they live, where they hear it; nobody waits for that."""
        ...

    def is_mine(self, key: int) -> bool:
        """Return whether an execution is this worker's."""
        ...

    def is_waiting(self, letter: int) -> bool:
        """Return whether a letter is in the mailbox still."""
        ...

    def note_waiting(self, execution_id: str) -> None:
        """Let who ends an execution tell so, once."""
        ...
