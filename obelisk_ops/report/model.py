"""
What a report holds. Plain values: the page is written from them, and ``--json`` prints them.

Moments are UTC milliseconds, in fields named ``at`` or ``…_at``; spans of time are
milliseconds, in fields named ``…_ms``.
"""

from __future__ import annotations

from dataclasses import dataclass

from obelisk_ops.core.chronicle import Outcome
from obelisk_ops.report.excerpts import Excerpt, Printed
from obelisk_ops.report.lanes import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """
    Which state of a backup was read.

    Attributes:
        name: The backup.
        epoch: The epoch.
        txid: The last transaction in it.
        at: When it was captured; of a copy, when that was restored.
        is_copy: Whether a file was read that was restored from it, and may have gone on.
    """

    name: str
    epoch: int
    txid: int
    at: int
    is_copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error."""

    type: str
    message: Excerpt
    hint: str
    traceback: Excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPart:
    """One attempt of an activity; ``ended_at`` is None while it runs."""

    number: int
    outcome: Outcome
    began_at: int
    ended_at: int | None
    duration_ms: int
    error: Fault | None
    output: tuple[Printed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPart:
    """
    One call.

    Attributes:
        n: Its number.
        kind: See ``core.chronicle.Call``, as for all that is not told here.
        duration_ms: From when it was asked for to when the code was told, or to now.
        child_id: Of the execution that it made.
        sheet: Where in this report that one is told, counted from 0; None where it is not.
    """

    n: int
    kind: str
    function: str
    outcome: Outcome
    version: int
    asked_at: int
    told_version: int | None
    told_at: int | None
    duration_ms: int
    due_at: int | None
    queue: str
    input: Excerpt | None
    value: Excerpt | None
    error: Fault | None
    attempts: tuple[AttemptPart, ...]
    child_id: str
    child_state: str
    sheet: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPart:
    """One event of the log."""

    version: int
    at: int
    kind: str
    body: Excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that it waits for, in words, and what to type."""

    execution_id: str
    kind: str
    text: str
    command: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much happened. ``retries`` are attempts after the first; ``lost`` are of these."""

    events: int
    calls: int
    attempts: int
    retries: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """
    One execution.

    Attributes:
        as_of_at: Until when it is told: its end, if it has ended.
        duration_ms: From its creation to ``as_of_at``.
        digest: Of the code that drove it last.
        waits: Why it does not go on, the deepest reason first; empty when it has ended.
        next_steps: What helps to find out more: words, and what to type.
        calls_left_out: How many are not in ``calls``.
        events_left_out: How many are not in ``events``.
    """

    execution_id: str
    function: str
    state: str
    result: str | None
    created_at: int
    began_at: int | None
    finished_at: int | None
    as_of_at: int
    duration_ms: int
    parent_id: str | None
    forked_from: str | None
    continues: str | None
    continued_as: str | None
    schedule_id: str | None
    digest: str
    input: Excerpt
    value: Excerpt | None
    error: Fault | None
    totals: Totals
    picture: Picture
    waits: tuple[Wait, ...]
    next_steps: tuple[tuple[str, str], ...]
    calls: tuple[CallPart, ...]
    calls_left_out: int
    events: tuple[EventPart, ...]
    events_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What is told of an execution, and of child workflows below it.

    Attributes:
        program: Version of the program that wrote this.
        written_at: When it did.
        database: What it read, as it was named.
        restore_point: Which state of it, if it is a backup.
        sheets: The execution, then the child workflows that were asked for.
        has_more: Whether there are more of those than a report may hold.
    """

    program: str
    written_at: int
    database: str
    restore_point: RestorePoint | None
    sheets: tuple[Sheet, ...]
    has_more: bool = False
