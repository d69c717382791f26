"""One attempt of an activity, as the code that runs in it and the engine around it see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from obelisk_ops.core import ids, values
from obelisk_ops.durable.flow.promise import UNKNOWN
from obelisk_ops.errors import OutcomeUnknown, WorkflowMisuse

if TYPE_CHECKING:
    from obelisk_ops.durable.flow.functions import Activity
    from obelisk_ops.durable.work.output import Output

Key = tuple[int, int]
"""execution, n of the call"""


class CurrentAttempt(Protocol):
    """What a running attempt may ask about itself, in this process or in a child of it."""

    number: int
    last_details: bytes | None

    @property
    def call_id(self) -> str:
        """The id of its call, the same in every attempt."""
        ...

    def beat(self, details: object) -> None:
        """Say that it is alive; raise CancelledError when it need not go on."""
        ...


class Attempt(Struct, eq=False):
    """
    One attempt to make.

    Attributes:
        key: Which call.
        number: 1, 2, …
        execution_id: Whose call it is.
        function: The activity.
        input: Its arguments, a JSON array.
        told: What code is told of its result, where that was read back in this process.
        last_details: Of the last heartbeat of the attempt before, JSON.
        on_beat: Told of a heartbeat, in any thread.
        over: Why its outcome does not count any more; empty while it does.
        details: Of its own last heartbeat, JSON.
        is_noted: Whether the engine knows of the last one.
        task: What runs it, for ``async def``.
        kill: Ends it at once, where that is possible.
        limits: What ends it when it takes too long.
        time: What its silence is measured with, where that is limited.
        beat_at: When it was last heard of, by that.
        on_output: Told what it writes, in any thread.
        output: What it has written, if anything.
        on_end: Told its outcome instead of the owner of the call, where that is elsewhere.
    """

    key: Key
    number: int
    execution_id: str
    function: Activity[Any, Any]
    input: bytes
    told: Any = UNKNOWN
    last_details: bytes | None = None
    on_beat: Callable[[Attempt], None] | None = None
    over: str = ""
    details: bytes | None = None
    is_noted: bool = False
    task: asyncio.Task[None] | None = None
    kill: Callable[[], None] | None = None
    limits: tuple[asyncio.TimerHandle, ...] = ()
    time: Callable[[], float] | None = None
    beat_at: float = 0.0
    on_output: Callable[[Attempt, str, str], None] | None = None
    output: Output | None = None
    on_end: Callable[[Attempt, bytes | None, BaseException | None], None] | None = None

    @property
    def call_id(self) -> str:
        """See CurrentAttempt.call_id."""
        return ids.derived(self.execution_id, self.key[1])

    def beat(self, details: object) -> None:
        """See CurrentAttempt.beat."""
        self.take_beat(values.to_json(details))

    def take_beat(self, details: bytes) -> None:
        """
        Note a heartbeat; in any thread.

        Raises:
            asyncio.CancelledError: The outcome of this attempt does not count any more.
        """
        if self.over:
            raise asyncio.CancelledError(self.over)
        self.details = details
        if self.time is not None:
            self.beat_at = self.time()
        if not self.is_noted and self.on_beat is not None:
            self.is_noted = True  # before the call: what comes after it is noted anew
            self.on_beat(self)

    def wrote(self, stream: str, text: str) -> None:
        """Note what it printed or logged; in any thread."""
        if self.on_output is not None:
            self.on_output(self, stream, text)


current: ContextVar[CurrentAttempt | None] = ContextVar("obelisk_ops_attempt", default=None)


def current_attempt() -> CurrentAttempt:
    """
    Return the attempt that runs here.

    Raises:
        WorkflowMisuse: No activity is running here.
    """
    found = current.get()
    if found is None:
        raise WorkflowMisuse("this can only be asked while an activity runs")
    return found


def unknown(what: str, call_id: str) -> OutcomeUnknown:
    """Return the error for an at-most-once activity that was cut short."""
    return OutcomeUnknown(
        f"{what}: whether it has happened is not known, and it is not run again",
        hint=f"look where it has its effect; its idempotency key is {call_id!r}",
    )
