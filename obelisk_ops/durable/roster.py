"""Which executions are in memory, which wait for their code, and who waits for which."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

from obelisk_ops.core.events import Finished
from obelisk_ops.durable.commits import answer, refuse
from obelisk_ops.durable.execution import Execution
from obelisk_ops.errors import OpsError


class Roster:
    """See the module."""

    def __init__(self) -> None:
        self._by_id: dict[str, Execution] = {}
        self._by_key: dict[int, Execution] = {}
        #: return the one of this id, or of this key, if it is in memory
        self.find, self.get = self._by_id.get, self._by_key.get
        self._idle: dict[int, Execution] = {}
        self._waiters: dict[str, list[asyncio.Future[Finished | None]]] = {}

    def __iter__(self) -> Iterator[Execution]:
        return iter(list(self._by_id.values()))

    def add(self, execution: Execution) -> None:
        """Take one into memory."""
        self._by_id[execution.id] = self._by_key[execution.key] = execution

    def drop(self, execution: Execution) -> None:
        """Let one go."""
        if self.holds(execution):
            del self._by_id[execution.id], self._by_key[execution.key]
            self._idle.pop(execution.key, None)

    def holds(self, execution: Execution) -> bool:
        """Return whether this is the one in memory."""
        return self._by_key.get(execution.key) is execution

    def rest(self, execution: Execution) -> None:
        """Note that one waits for what may take long."""
        if self.holds(execution):
            self._idle.pop(execution.key, None)
            self._idle[execution.key] = execution

    def longest_idle(self, keep: int) -> list[Execution]:
        """Take out those that wait, the longest waiting first, until only *keep* are left."""
        surplus = len(self._idle) - keep
        if surplus <= 0:
            return []
        # All at once: what is first in a dict is far away when many before it are gone.
        return [self._idle.pop(key) for key in list(islice(self._idle, surplus))]

    def wait(self, execution_id: str) -> asyncio.Future[Finished | None]:
        """Return what is answered when an execution has ended, or is parked (with None)."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(execution_id, []).append(waiter)
        return waiter

    def hand_on(self, execution_id: str, successor: str) -> None:
        """Let those who wait for one wait for another."""
        if execution_id in self._waiters:
            waiters = self._waiters.pop(execution_id)
            self._waiters.setdefault(successor, []).extend(waiters)

    def tell(self, execution_id: str, outcome: Finished | None = None) -> None:
        """Answer those who wait for one: how it ended, or that it is parked."""
        for waiter in self._waiters.pop(execution_id, ()):
            answer(waiter, outcome)

    def refuse(self, execution_id: str, error: OpsError) -> None:
        """Give an error to those who wait for one."""
        for waiter in self._waiters.pop(execution_id, ()):
            refuse(waiter, error)

    def refuse_all(self, error: OpsError) -> None:
        """Give an error to everybody who waits."""
        for execution_id in list(self._waiters):
            self.refuse(execution_id, error)
