"""What an execution needs of the engine around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from obelisk_ops.core import events
from obelisk_ops.core.ports import Write
from obelisk_ops.durable.flow.attempt import Key
from obelisk_ops.durable.flow.functions import Activity, Workflow
from obelisk_ops.durable.flow.guard import Guard
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.turn import Turn

if TYPE_CHECKING:
    from obelisk_ops.durable.execution import Execution


class Owner(Protocol):
    """
    What an execution needs of its engine.

    Attributes:
        guard: Hides the event loop from workflow code.
    """

    guard: Guard

    def reserve_slot(self, function: Activity[Any, Any], key: Key, /) -> bool:
        """Return whether an attempt can start now; if so, its place is taken."""
        ...

    def offer(self, write: Write, execution_id: str, key: Key, pending: Pending, /) -> bool:
        """Offer the next attempt of a call to other workers, if that is to be done."""
        ...

    def start_attempt(self, execution: Execution, n: int, pending: Pending) -> None:
        """Run an attempt that is on record as started."""
        ...

    def waits(self, function: Workflow[Any, Any] | None) -> bool:
        """Return whether what is said of executions of a workflow waits for the bucket."""
        ...

    def check_barrier(self, who: str, /) -> None:
        """Raise ConfigError if no bucket will ever hold this database, as *who* wants."""
        ...

    def take_over(self, execution: Execution) -> None:
        """Count attempts that ended with their process; raise CrashLoop if that is too many."""
        ...

    def is_running(self, key: int, n: int, pending: Pending) -> bool:
        """Return whether the last attempt of a call runs in this process."""
        ...

    def holds(self, key: int, /) -> bool:
        """Return whether something of an execution waits for the bucket, or will."""
        ...

    def start_soon(self, execution: Execution, n: int) -> None:
        """Record and start the next attempt."""
        ...

    def wait_for_slot(self, execution: Execution, n: int) -> None:
        """Record and start the next attempt when there is room."""
        ...

    def cancel_attempt(self, execution: Execution, n: int) -> None:
        """Stop caring for an attempt, or a timer."""
        ...

    def arm(self, execution: Execution, n: int, due: int) -> None:
        """Fire a timer, or start the next attempt, at *due* (UTC milliseconds)."""
        ...

    def create_child(self, parent: Execution, body: events.ChildCreated, turn: Turn) -> None:
        """Begin a child workflow in the same turn."""
        ...

    def cancel_child(self, parent: Execution, n: int, turn: Turn) -> None:
        """Ask a child workflow to cancel, in the same turn if it is in memory."""
        ...

    def schedule(self, body: events.Scheduled, turn: Turn) -> None:
        """Create an execution without a parent in the same turn."""
        ...

    def idle(self, execution: Execution) -> None:
        """Note that it waits for what may take long."""
        ...

    def ended(self, execution: Execution, turn: Turn) -> None:
        """Tell who waits, and the parent in the same turn; begin its successor."""
        ...
