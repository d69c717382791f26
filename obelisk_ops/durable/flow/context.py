"""What workflow code calls besides its activities: time, chance, waiting."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import cast
from uuid import UUID

from obelisk_ops.core.durations import milliseconds
from obelisk_ops.durable.flow.functions import current_driver
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.durable.flow.promise import Promise


def now() -> datetime:
    """
    Return the time (UTC) of the latest thing the workflow was told: the same on replay.

    It stands still between two awaits, and costs nothing to record.
    """
    return datetime.fromtimestamp(machine_of("now()").at / 1000, tz=UTC)


def random() -> Random:
    """Return this execution's random numbers: the same on replay, on every platform."""
    return machine_of("random()").random


def uuid4() -> UUID:
    """Return a UUID: the same on replay."""
    return machine_of("uuid4()").random.uuid4()


def execution_id() -> str:
    """Return the id of this execution."""
    return machine_of("execution_id()").id


class sleep:  # noqa: N801 - it is called like a function
    """
    ``await sleep(timedelta(hours=1))``: a durable timer.

    It survives the process: what is left of the wait goes on after a restart, and a
    timer that came due meanwhile fires at once.
    """

    __slots__ = ("_wait",)

    def __init__(self, duration: timedelta | float) -> None:
        """
        Make a timer; it is set when awaited.

        Args:
            duration: How long; a number counts seconds.

        Raises:
            WorkflowMisuse: It is not called in a workflow.
        """
        self._wait = milliseconds(duration)
        machine_of("sleep()").note_call(self, "sleep()")

    def __await__(self) -> Generator[Promise, None, None]:
        machine = machine_of("sleep()")
        promise = Promise()
        machine.set_timer(self._wait, promise=promise, made=self)
        yield from machine.wait_for(promise)

    def __repr__(self) -> str:
        return f"<sleep({self._wait / 1000:g})>"


def machine_of(what: str) -> Machine:
    """
    Return the machine that drives the workflow around *what*.

    Raises:
        WorkflowMisuse: There is none.
    """
    return cast("Machine", current_driver(what))
