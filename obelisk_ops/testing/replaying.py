"""Histories against today's code: what CI does with exported executions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import UNSET

from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.failures import rebuild
from obelisk_ops.core.fold import last_told
from obelisk_ops.core.history import History, from_json, history_of
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.lines import hook
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.errors import DatabaseNotFound, InvalidInput, Nondeterminism
from obelisk_ops.testing.showing import show_log

_AROUND = 6


@dataclass(slots=True)
class Replayed:
    """
    Code that was brought to where its log ends.

    Attributes:
        execution_id: Whose log it was.
        has_finished: Whether the code came to its end; not if the execution was cancelled
            before its code began, or while it was parked.
        value: What it returned.
        error: What it raised.
        asks_for: What the code asks for beyond the log, as kinds of events: nothing, when
            the code is the one that wrote the log.
    """

    execution_id: str
    has_finished: bool = False
    value: Any = None
    error: BaseException | None = None
    asks_for: list[str] = field(default_factory=list)


class _Reader:
    """A host that writes nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def admit(self, n: int, pending: Pending) -> int:  # noqa: ARG002
        """See Host.admit."""
        return 0

    def record(self, body: Body) -> None:
        """See Host.record."""
        self.asked.append(KINDS[type(body)])


@hook.dropping()
def replay(
    history: History | Sequence[Event] | str | Path,
    workflow: Workflow[..., Any],
    *,
    inbox: Mapping[int, InboxItem] | None = None,
    execution_id: str = "replayed",
) -> Replayed:
    """
    Run a workflow's code against a recorded history; nothing is executed or written.

    Args:
        history: A file that an execution was exported to, its text read already
            (``History``), or events.
        workflow: Today's code.
        inbox: With bare events: what they refer to.
        execution_id: With bare events: whose they are; random numbers depend on it.

    Raises:
        Nondeterminism: The code does not fit; the message and its note say where.
        InvalidInput: The history is of another workflow, or cannot be read.
        DatabaseNotFound: There is no such file.
    """
    known = _read(history, inbox or {}, execution_id)
    if known.function != workflow.name:
        raise InvalidInput(
            f"the history of {known.execution_id!r} is of {known.function}, "
            f"not of {workflow.name}",
            hint="give the workflow its old name: @workflow(name=…)",
        )
    told = last_told(known.events)
    if told == 0:
        return Replayed(known.execution_id)
    reader = _Reader()
    created = known.created
    machine = Machine(known.execution_id, workflow, created, at=known.events[0].at, host=reader)
    try:
        end = len(known.events) if told is None else told + 1
        machine.replay(known.events[1:end], known.inbox)
    except Nondeterminism as error:
        error.add_note(_around(known.events, error))
        raise
    replayed = Replayed(known.execution_id, asks_for=reader.asked)
    outcome = machine.finished
    if outcome is None:
        machine.dispose()
        return replayed
    replayed.has_finished = True
    if outcome.error is not UNSET:
        replayed.error = rebuild(outcome.error)
    elif outcome.ok is not UNSET:
        replayed.value = workflow.codec.decode_result(outcome.ok)
    return replayed


def _read(
    history: History | Sequence[Event] | str | Path,
    inbox: Mapping[int, InboxItem],
    execution_id: str,
) -> History:
    if isinstance(history, History):
        return history
    if isinstance(history, str | Path):
        try:
            return from_json(Path(history).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DatabaseNotFound(f"there is no file {history}") from None
    return history_of(execution_id, history, inbox)


def _around(log: Sequence[Event], error: Nondeterminism) -> str:
    """Show the log around the version where the code differs."""
    version = len(log) - 1 if error.version is None else error.version
    start = max(0, version - _AROUND)
    shown = show_log(log[start : version + _AROUND])
    marked = [
        f"{'>' if start + at == version else ' '} {line}" for at, line in enumerate(shown)
    ]
    return "\n".join(["the log there:", *marked])
