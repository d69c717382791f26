"""What a machine and what is around it share: open calls, who records new ones, the end."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from obelisk_ops.core import events
from obelisk_ops.core.events import Body
from obelisk_ops.durable.flow.functions import Activity, Stub, Workflow
from obelisk_ops.durable.flow.promise import Promise
from obelisk_ops.durable.flow.signals import Signal


class Halt(BaseException):
    """
    Unwinds workflow code that must not run any further.

    Not an Exception: ``except Exception`` in a workflow must not catch it.
    """


class ContinueAsNew(BaseException):
    """Unwinds workflow code that goes on as a new execution."""

    def __init__(self, input: bytes) -> None:  # noqa: A002 - as in events
        super().__init__("continue_as_new() is not to be caught")
        self.input = input


class Pending(Struct, eq=False):
    """
    A call that has no answer yet.

    Attributes:
        promise: What the code waits for.
        function: The activity, stub, child workflow or signal; None for a timer.
        input: Its arguments, a JSON array.
        attempt: Number of the last attempt; 0 before the first.
        failures: Attempts that failed.
        crashes: Attempts that ended together with their process.
        running: Whether the last attempt was started and has no outcome on record.
        retry_at: When it is tried again, UTC milliseconds.
        due: When a timer fires or a signal is given up, UTC milliseconds; 0 for never.
        is_new: Whether it was asked for in this process, not read from the log.
        child: Id of a child workflow.
        cancelling: Whether a child workflow was asked to cancel.
    """

    promise: Promise
    function: Activity[Any, Any] | Stub[Any, Any] | Workflow[Any, Any] | Signal[Any] | None = (
        None
    )
    input: bytes = b""
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    running: bool = False
    retry_at: int | None = None
    due: int = 0
    is_new: bool = False
    child: str = ""
    cancelling: bool = False

    def note(self, body: events.AttemptStarted | events.AttemptFailed) -> None:
        """Take in what happened to an attempt, and code cannot see."""
        if isinstance(body, events.AttemptStarted):
            self.attempt, self.running, self.retry_at = body.attempt, True, None
            self.crashes = body.crashes
        else:
            self.failures += 1
            self.running, self.retry_at = False, body.retry_at


class Host(Protocol):
    """Who records what the code asks for, once there is no more history."""

    def admit(self, n: int, pending: Pending) -> int:
        """
        Return 1 when the first attempt can start with this commit, else 0.

        Raises:
            ConfigError: What the call asks for cannot be had here.
        """
        ...

    def record(self, body: Body) -> None:
        """Append a command to the log."""
        ...
