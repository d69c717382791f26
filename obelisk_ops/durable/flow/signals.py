"""Typed messages to a running execution."""

from __future__ import annotations

import re
from collections.abc import Generator
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from obelisk_ops.core.durations import milliseconds
from obelisk_ops.core.values import Shape
from obelisk_ops.durable.flow.functions import current_driver
from obelisk_ops.durable.flow.promise import Promise
from obelisk_ops.errors import WorkflowMisuse

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


class Signal(Generic[T]):
    """
    ``approve = Signal("approve", bool)``: a message with a name and a type.

    Sent from outside (``handle.signal``, ``obelisk-ops execution signal``), received in a
    workflow. A signal that comes before it is waited for is kept; each is received once.
    One that does not fit the type is refused to its sender, or set aside: it is not received.
    """

    @overload
    def __init__(self: Signal[Any], name: str) -> None: ...
    @overload
    def __init__(self, name: str, type: type[T]) -> None: ...
    def __init__(self, name: str, type: Any = Any) -> None:  # noqa: A002
        """
        Describe a signal.

        Args:
            name: What senders call it: letters, digits and ``_ . -``.
            type: Of its value, read from JSON.

        Raises:
            WorkflowMisuse: The name cannot be one, or the type cannot be read from JSON.
        """
        if not _NAME.fullmatch(name):
            raise WorkflowMisuse(
                f"{name!r} cannot name a signal", hint="use letters, digits and _ . -"
            )
        self.name = name
        self.shape = Shape(type, f"signal {name}")

    def receive(self, *, timeout: timedelta | float | None = None) -> Receipt[T]:
        """
        Wait for the next signal of this name, in the order in which they came.

        Args:
            timeout: How long to wait (a number counts seconds); then the answer is None.

        Raises:
            WorkflowMisuse: It is not called in a workflow.
        """
        return Receipt(self, None if timeout is None else milliseconds(timeout))

    def __repr__(self) -> str:
        return f"<signal {self.name}>"


class Receiver(Protocol):
    """What waiting for a signal needs of the machine."""

    def note_call(self, call: object, name: str) -> None:
        """See Driver.note_call."""
        ...

    def await_signal(
        self, signal: Signal[Any], wait_ms: int | None, *, promise: Promise, made: object
    ) -> int:
        """Ask for a signal, and return the number of the call."""
        ...

    def wait_for(self, promise: Promise) -> Generator[Promise, None, Any]:
        """Wait for an answer; give up the call when that is interrupted."""
        ...


class Receipt(Generic[T]):
    """Waits for a signal when awaited."""

    __slots__ = ("_signal", "_wait")

    def __init__(self, signal: Signal[T], wait_ms: int | None) -> None:
        self._signal = signal
        self._wait = wait_ms
        self._machine().note_call(self, f"{signal.name}.receive()")

    def __await__(self) -> Generator[Promise, None, T | None]:
        machine = self._machine()
        promise = Promise()
        machine.await_signal(self._signal, self._wait, promise=promise, made=self)
        value: T | None = yield from machine.wait_for(promise)
        return value

    def __repr__(self) -> str:
        return f"<{self._signal.name}.receive()>"

    def _machine(self) -> Receiver:
        return cast("Receiver", current_driver("receive()"))
