"""What is told of a database that another engine for durable workflows has written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apsw

#: So much of a value or an error is read and shown.
TEXT_MAX = 2_000

#: So many failures, and so many that had not ended, are in an overview.
LISTED_MAX = 100

#: The states, of whichever engine, that an execution ends in without an error of its own.
_RESULTS = {
    "SUCCESS": "ok", "ERROR": "error", "CANCELLED": "cancelled", "finished": "ok",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "error",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """
    An execution of another engine.

    Attributes:
        id: As the engine calls it.
        function: The workflow's name.
        state: In the engine's own words.
        created_ms: UTC milliseconds; None where it cannot be read.
        updated_ms: The same, of its last change.
        error: What it failed with; None if it did not.
    """

    id: str
    function: str
    state: str
    created_ms: int | None = None
    updated_ms: int | None = None
    error: str | None = None

    @property
    def result(self) -> str | None:
        """How it ended, in our own words; None if it has not."""
        if self.error is not None:
            return "error"
        return _RESULTS.get(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    What is recorded of one step of an execution, in the engine's order.

    Attributes:
        n: Its number.
        name: The function, or the kind of event.
        began_ms: UTC milliseconds; None where it is not recorded.
        ended_ms: The same.
        value: What it returned, as text, cut at TEXT_MAX.
        error: What it failed with.
        child: The execution that it started.
    """

    n: int
    name: str
    began_ms: int | None = None
    ended_ms: int | None = None
    value: str | None = None
    error: str | None = None
    child: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """
    What may have been running when the database was last written.

    Attributes:
        id: The execution.
        function: Its workflow.
        step: What ran, as far as the engine records it.
        attempt: Its number, from 1; None where the engine does not count them.
        since_ms: UTC milliseconds of the last that is recorded before it.
    """

    id: str
    function: str
    step: str
    attempt: int | None
    since_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is in a database of another engine; counts are by function, then by state."""

    engine: str
    functions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    failures: tuple[Workflow, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    last_event_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """
    How the databases of one engine are read.

    Attributes:
        engine: Its name.
        tables: The tables that tell it.
        overview: What is in it.
        workflows: The newest so many, of one state where it is named.
        steps: What is recorded of one; None if there is none of this id.
    """

    engine: str
    tables: frozenset[str]
    overview: Callable[[apsw.Connection], Overview]
    workflows: Callable[[apsw.Connection, str | None, int], list[Workflow]]
    steps: Callable[[apsw.Connection, str], list[Step] | None]


def counted(rows: Iterable[tuple[Any, ...]]) -> dict[str, dict[str, int]]:
    """Return counts by function, then by state, of rows that hold the three."""
    found: dict[str, dict[str, int]] = {}
    for function, state, count in rows:
        found.setdefault(str(function), {})[str(state)] = int(count)
    return found


def text(stored: object) -> str | None:
    """Return what a column holds as text: SQLite lets it hold anything."""
    if stored is None or isinstance(stored, str):
        return stored
    return f"{len(stored)} bytes" if isinstance(stored, bytes) else str(stored)


def number(stored: object) -> int | None:
    """Return the whole number that a column holds; None if it holds something else."""
    return stored if isinstance(stored, int) else None
