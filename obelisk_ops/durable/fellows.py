"""
The other workers of a database: which of them are dead, and what becomes of their executions.

A look renews this worker's lease, too. What is unfinished of one that is dead, or has ended,
one of the others goes on with; what is not served here goes to one that serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from obelisk_ops.core.workers import (
    TTL_MS,
    Look,
    Shared,
    Sighting,
    living,
    next_look_ms,
    to_adopt,
    to_call,
    to_give,
)
from obelisk_ops.durable.log import log
from obelisk_ops.durable.scheduler import Scheduler
from obelisk_ops.errors import StorageUnavailable


class Fellows:
    """See the module."""

    def __init__(
        self, shared: Shared, scheduler: Scheduler, deliver: Callable[[], object]
    ) -> None:
        """
        Know nobody yet.

        Args:
            shared: The store.
            scheduler: What goes on with executions.
            deliver: Told that letters may have come.
        """
        self._shared = shared
        self._scheduler = scheduler
        self._deliver = deliver
        self._before: Sequence[Sighting] = ()
        self._gifts = 0
        self._is_keeper = shared.is_keeper
        self._there_since: int | None = None  # when the server was there again, if it was not
        # Whose executions may be ours, by row and term, without that we go on with them.
        self._left: dict[tuple[int, int], Sighting] = {}

    def look(self) -> float:
        """
        Look once.

        Returns:
            After how many seconds to look again.

        Raises:
            Fenced: Another worker has taken over what was ours.
            StorageUnavailable: The server is away for a moment.
        """
        nursery, me = self._scheduler.nursery, self._shared.id
        found = self._shared.look(self._scheduler.registry.names())
        others = [one for one in living(found.workers) if one.id != me]
        self._scheduler.fellows = len(others)
        self._scheduler.served_elsewhere = frozenset().union(*(one.functions for one in others))
        there_ms = self._there_ms(found)
        dead = to_adopt(found.workers, self._before, me, there_ms)
        called = to_call(found.workers, self._before, me)
        self._before = found.workers
        if called:
            self._shared.call(called)
        self._take_over(dead, found.gifts)
        for function in nursery.unserved():
            other = to_give(found.workers, me, function)
            if other is not None:
                self._scheduler.after_commit(self._give, function, other.id)
        self._scheduler.schedules.look_at_waiting()
        if found.has_letters:
            self._deliver()
        return next_look_ms(found.workers, me) / 1000

    def _there_ms(self, found: Look) -> int:
        now_ms = found.workers[0].seen_ms
        if found.was_away:
            self._there_since = now_ms
        return TTL_MS if self._there_since is None else now_ms - self._there_since

    def _take_over(self, dead: Sequence[Sighting], gifts: int) -> None:
        """Go on with all that has become ours; whatever fails of that the next look does."""
        if self._left or gifts != self._gifts:
            self._go_on(None)
            self._left.clear()
            self._gifts = gifts
        for one in dead:
            self._adopt(one)
        if self._shared.is_keeper and not self._is_keeper:
            self._scheduler.is_behind = True
            self._scheduler.schedules.take_up()
            self._is_keeper, self._scheduler.is_behind = True, False

    def _adopt(self, row: Sighting) -> None:
        self._left[row.id, row.term] = row  # also if no answer is heard
        adopted = self._shared.adopt(row)
        if adopted is not None:
            told = {"executions": len(adopted.keys), "ended": row.is_closed}
            log.info("adopted", worker=row.holder, **told)
            self._go_on(adopted.keys)
        del self._left[row.id, row.term]

    def _go_on(self, keys: Collection[int] | None) -> None:
        """Go on with what has become ours: some executions, or all that there are."""
        if self._left:
            has_crashed = any(not row.is_closed for row in self._left.values())
            self._scheduler.workshop.follows_crash = has_crashed
        self._scheduler.is_behind = True
        self._scheduler.workshop.learn(self._scheduler.store.last_beats())
        self._scheduler.offers.load()
        self._scheduler.nursery.recover(keys)
        self._scheduler.is_behind = False

    def _give(self, function: str, to: int) -> None:
        keys: Collection[int] = ()
        try:
            for keys in self._scheduler.nursery.to_give(function):
                if self._shared.give(keys, to):
                    self._scheduler.nursery.forget(keys)
        except StorageUnavailable:  # the next look tries again
            self._scheduler.nursery.doubt(keys, self._shared.is_mine)
