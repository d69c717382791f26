"""
Which calls other workers are asked to make an attempt of, as tasks; see ``core.tasks``.

An attempt is offered where it has no chance here: its queue is not served, or it finds no
place and others serve its queue, too. It counts as started when somebody has claimed it, not
before; until then nothing of it is on record but the call, and the offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from obelisk_ops.core.ports import Write
from obelisk_ops.core.rows import GoneRow, TaskKey, TaskRow
from obelisk_ops.core.tasks import Manner
from obelisk_ops.durable.flow.attempt import Key
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.pending import Pending

#: so often a call that has just come takes a place, before the oldest task may have it
_PASSING = 8


class Elsewhere:
    """
    The tasks of one owner. Used by the loop's thread.

    Attributes:
        open: Which attempt of each call is on offer, or being made by another worker.
        overflow: The queues that are served here and that others serve, too.
        freed: Told that a place is free while tasks of those may wait.
        crashed: Calls whose last attempt ended with its worker, and that are not taken up yet.
    """

    def __init__(
        self, serves: Iterable[str], write_soon: Callable[[], None], *, is_there: bool
    ) -> None:
        """
        Offer nothing yet.

        Args:
            serves: The queues that are served here.
            write_soon: Sees to it that there is a commit, for what is to be taken back.
            is_there: Whether there can be other workers.
        """
        self.open: dict[Key, int] = {}
        self.crashed: set[Key] = set()
        self.overflow: frozenset[str] = frozenset()
        self.freed: Callable[[], None] = _nothing
        self._passed = 0
        self._serves = frozenset(serves)
        self._write_soon = write_soon
        self._is_there = is_there
        self._gone: list[GoneRow] = []

    def load(self, tasks: Iterable[TaskKey]) -> None:
        """Take over what is on offer already."""
        self.open.update({(execution, n): attempt for execution, n, attempt in tasks})

    def offer(self, write: Write, execution_id: str, key: Key, pending: Pending) -> bool:
        """Offer the next attempt of a call that finds no place here; tell whether it is."""
        function = pending.function
        if not self._is_there or not isinstance(function, Activity):
            return False
        if function.queue in self._serves and function.queue not in self.overflow:
            return False
        attempt = pending.attempt + 1
        self.open[key] = attempt
        row = TaskRow(
            execution=key[0], n=key[1], attempt=attempt, id=execution_id,
            function=function.name, manner=manner_of(function), input=pending.input.decode(),
            queue=function.queue, priority=function.priority,
        )  # fmt: skip
        write.tasks = [*write.tasks, row]
        return True

    def is_next(self, queue: str) -> bool:
        """Tell whether tasks of a queue that wait go before a call that has just come."""
        if not (self.open and queue in self.overflow):
            return False
        self._passed += 1
        return self._passed % _PASSING == 0

    def is_made(self, key: Key, number: int) -> bool:
        """Tell whether this attempt of a call is another worker's, or to be."""
        return self.open.get(key) == number

    def of(self, execution: int) -> list[Key]:
        """Return the calls of an execution that are on offer, or made elsewhere."""
        return [key for key in self.open if key[0] == execution]

    def drop(self, key: Key) -> None:
        """Take a task back, for nobody waits for its call any more."""
        attempt = self.open.pop(key, None)
        if attempt is not None:
            self._gone.append((*key, attempt, False))
            self._write_soon()

    def take_back(self, execution: int, write: Write) -> None:
        """Take back what nobody has claimed yet of an execution that is to rest."""
        for key in self.of(execution):
            write.tasks_gone = [*write.tasks_gone, (*key, self.open[key], True)]

    def forget(self, execution: int) -> None:
        """Leave the tasks of an execution where they are: a restart takes them up again."""
        for key in self.of(execution):
            del self.open[key]

    def ended(self, key: Key, number: int, write: Write, *, is_open: bool) -> None:
        """Let a task go with the write that records what came of it; see ``Workshop.ended``."""
        if self.is_made(key, number):
            del self.open[key]
            write.tasks_gone = [*write.tasks_gone, (*key, number, False)]
            if not is_open:  # who made it has left its heartbeats there
                write.beats_done = [*write.beats_done, key]

    @property
    def has_news(self) -> bool:
        """Whether a commit could take something along."""
        return bool(self._gone)

    def ride(self, write: Write) -> None:
        """Put into a write what is taken back."""
        write.tasks_gone = [*write.tasks_gone, *self._gone]
        write.beats_done = [*write.beats_done, *((row[0], row[1]) for row in self._gone)]
        self._gone = []


def _nothing() -> None:
    """Nobody claims tasks here."""


def manner_of(function: Activity[Any, Any]) -> str:
    """Return how an attempt of an activity is to be run, as it is written down."""
    options = function.activity_options
    limits = (options.timeout, options.heartbeat_timeout)
    timeout_ms, silence_ms = (
        0 if limit is None else max(1, round(limit.total_seconds() * 1000)) for limit in limits
    )
    manner = Manner(
        timeout_ms=timeout_ms, silence_ms=silence_ms, at_most_once=options.at_most_once,
        overlap=options.overlap, isolation=options.isolation,
    )  # fmt: skip
    return msgspec.json.encode(manner).decode()
