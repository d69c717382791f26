"""Going on elsewhere or otherwise: new executions, a fresh log, changed code."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, ParamSpec

from obelisk_ops.core.durations import milliseconds
from obelisk_ops.durable.flow.context import machine_of
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.pending import ContinueAsNew
from obelisk_ops.errors import WorkflowMisuse

P = ParamSpec("P")


class ExecutionId(str):
    """An execution's id; ``await`` returns it too."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, str]:
        yield from ()  # it waits for nothing
        return str(self)


def schedule(
    function: Workflow[..., Any],
    /,
    *args: Any,  # noqa: ANN401 - the workflow's own
    after: timedelta | float | None = None,
    at: datetime | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> ExecutionId:
    """
    Start an execution that is nobody's child, and return its id without waiting for it.

    Args:
        function: The workflow.
        *args: Its arguments.
        after: Begin after this time (a number counts seconds).
        at: Begin at this moment, which has a time zone.
        **kwargs: Its arguments by name.

    Raises:
        WorkflowMisuse: It is not called in a workflow, or with both times, or the
            moment has no time zone.
    """
    machine = machine_of("schedule()")
    if not isinstance(function, Workflow):
        raise WorkflowMisuse(
            f"{function!r} is no workflow", hint="only workflows are scheduled"
        )
    if after is not None and at is not None:
        raise WorkflowMisuse("schedule() takes after= or at=, not both")
    if at is not None and at.tzinfo is None:
        raise WorkflowMisuse(f"at={at} has no time zone", hint="use now() + timedelta(…)")
    wait_ms = 0 if after is None else milliseconds(after)
    start_at = machine.at + wait_ms if wait_ms else 0
    if at is not None:
        start_at = round(at.astimezone(UTC).timestamp() * 1000)
    call = function(*args, **kwargs)
    return ExecutionId(machine.schedule(call, wait_ms=wait_ms, start_at=start_at))


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401 - the workflow's own
    """
    End this execution, and go on as a new one of the same workflow with a fresh log.

    For workflows that never end: whoever waits for this execution waits for the new one.

    Args:
        *args: The arguments of the new execution.
        **kwargs: Its arguments by name.

    Raises:
        InvalidInput: They do not fit the workflow.
    """
    machine = machine_of("continue_as_new()")
    codec = machine.function.codec
    given = codec.encode_input(args, kwargs)
    codec.decode_input(given)
    raise ContinueAsNew(given)


def patched(name: str) -> bool:
    """
    Tell whether this execution goes the way of a deliberate change of the code.

    ``if patched("new-tax"): … else: …`` — executions that were past this place before the
    change go the old way for ever, all others the new one.

    Raises:
        WorkflowMisuse: It is not called in a workflow.
    """
    return machine_of("patched()").patched(name)
