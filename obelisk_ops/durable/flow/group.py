"""Calls and coroutines that run at the same time: what join sets, gather and first share."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Sequence
from inspect import iscoroutine
from typing import Any

from obelisk_ops.core.interruptions import Cancelled
from obelisk_ops.durable.flow.asking import Asking, settled
from obelisk_ops.durable.flow.functions import Call
from obelisk_ops.durable.flow.promise import Promise


class Group:
    """Members, and their answers in the order in which they arrive."""

    def __init__(self, machine: Asking, name: str = "") -> None:
        self._machine = machine
        self._name = name
        self._open: dict[Promise, None] = {}
        self._waiting: deque[Promise] = deque()
        self.arrived: deque[Promise] = deque()

    def call(self, call: Call[Any]) -> Promise:
        """Start a call."""
        promise = Promise(self._arrive)
        self._machine.issue(call, into=self._name, promise=promise)
        self._open[promise] = None
        return promise

    def timer(self, wait_ms: int) -> Promise:
        """Start a timer."""
        promise = Promise(self._arrive)
        self._machine.set_timer(wait_ms, into=self._name, promise=promise)
        self._open[promise] = None
        return promise

    def start(self, member: Awaitable[Any]) -> Promise:
        """Start a call, a coroutine, or anything that can be awaited in a workflow."""
        if isinstance(member, Call):
            return self.call(member)
        promise = Promise(self._arrive)
        self._open[promise] = None
        code = member if iscoroutine(member) else _awaiting(member)
        self._machine.spawn(code, promise)
        return promise

    def start_all(self, members: Sequence[Awaitable[Any]]) -> list[Promise]:
        """Start each; where one cannot be, those after it are none of the workflow's calls."""
        started: list[Promise] = []
        try:
            for member in members:
                started.append(self.start(member))  # noqa: PERF401 - one may fail
        except BaseException:
            for member in members:
                self._machine.forget(member)
            for member in members[len(started) :]:
                if iscoroutine(member):
                    member.close()
            raise
        return started

    @property
    def has_more(self) -> bool:
        """Whether one more can be waited for."""
        return bool(self.arrived) or len(self._waiting) < len(self._open)

    async def next(self) -> Promise:
        """Return the next member that has ended; there must be one more."""
        if self.arrived:
            return self.arrived.popleft()
        turn = Promise()
        self._waiting.append(turn)
        try:
            member: Promise = await turn
        except BaseException:
            if turn.done:
                self.arrived.appendleft(turn.value)  # it is somebody else's now
            else:
                self._waiting.remove(turn)
            raise
        return member

    async def close(self) -> None:
        """
        Cancel what has not ended, the last one first, and wait for what cannot be cancelled.

        Interruptions wait until it is done.
        """
        if not self._machine.tasks.is_running:
            return  # the code is dropped, not left
        with self._machine.tasks.shielded():
            members = list(reversed(self._open))
            for member in members:
                self._stop(member)
            for member in members:
                if member in self._open:
                    await _Settled(member)

    def _stop(self, member: Promise) -> None:
        if member.task is not None:
            self._machine.interrupt(member.task, Cancelled())
        elif self._machine.cancel(member.n):
            self._open.pop(member, None)

    def _arrive(self, promise: Promise) -> None:
        self._open.pop(promise, None)
        if self._waiting:
            self._machine.resolve(self._waiting.popleft(), promise)
        else:
            self.arrived.append(promise)


class _Settled:
    """``await`` for a generator."""

    def __init__(self, promise: Promise) -> None:
        self._promise = promise

    def __await__(self) -> Any:  # noqa: ANN401 - a generator
        return settled(self._promise)


async def _awaiting(member: Awaitable[Any]) -> Any:  # noqa: ANN401
    return await member
