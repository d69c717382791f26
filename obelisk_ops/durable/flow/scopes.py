"""Blocks of a workflow that end in a certain way: in time, or with what was done undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self

from obelisk_ops.core.durations import milliseconds
from obelisk_ops.core.interruptions import Interruption
from obelisk_ops.durable.flow.context import machine_of
from obelisk_ops.durable.flow.functions import Call
from obelisk_ops.durable.flow.promise import Promise
from obelisk_ops.durable.flow.tasks import Task
from obelisk_ops.errors import WorkflowMisuse

P = ParamSpec("P")


class Expired(Interruption):
    """Leaves a block whose time is over; the block turns it into TimeoutError."""


class timeout:  # noqa: N801 - it is called like a function
    """
    ``async with timeout(timedelta(hours=1)):`` — TimeoutError when the block takes longer.

    The limit is a durable timer. What the block waits for when the time is over is
    cancelled as leaving a join set cancels it.
    """

    def __init__(self, duration: timedelta | float) -> None:
        """
        Make a limit; the time begins when the block is entered.

        Args:
            duration: How long; a number counts seconds.

        Raises:
            WorkflowMisuse: It is not used in a workflow.
        """
        self._machine = machine_of("timeout()")
        self._wait_ms = milliseconds(duration)
        self._seconds = self._wait_ms / 1000
        self._timer = Promise(self._expire)
        self._error: Expired | None = None
        self._task: Task | None = None

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise WorkflowMisuse("this timeout() was entered before", hint="make another one")
        self._task = self._machine.tasks.current
        self._machine.set_timer(self._wait_ms, promise=self._timer)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._timer.done and self._machine.tasks.is_running:
            self._machine.cancel(self._timer.n)
        if self._error is not None and self._task is not None:
            self._machine.tasks.withdraw(self._task, self._error)
        if error is not None and error is self._error:
            raise TimeoutError(f"this took longer than {self._seconds:g} s") from None

    def _expire(self, _timer: Promise) -> None:
        assert self._task is not None
        self._error = Expired()
        self._machine.interrupt(self._task, self._error)


class saga:  # noqa: N801 - it is called like a function
    """
    ``async with saga() as undo:`` — when the block fails or is cancelled, undo what it did.

    ``undo.add(refund, receipt)`` after each step says how. Compensations are awaited in
    reverse order, each of them even if another one failed; then the block's own error
    goes on, with a note of what could not be undone.
    """

    def __init__(self) -> None:
        self._machine = machine_of("saga()")
        self._steps: list[tuple[Callable[..., Call[Any]], tuple[Any, ...], dict[str, Any]]] = []

    def add(self, function: Callable[P, Call[Any]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Say what undoes the step that was just done: a call, with its arguments."""
        self._steps.append((function, args, kwargs))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or not self._machine.tasks.is_running:
            return
        with self._machine.tasks.shielded():
            while self._steps:
                function, args, kwargs = self._steps.pop()
                try:
                    await function(*args, **kwargs)
                except Exception as failed:  # noqa: BLE001 - told with the block's own error
                    error.add_note(f"could not be undone: {function!r}: {failed}")
