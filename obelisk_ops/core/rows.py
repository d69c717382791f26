"""Rows of tables that are beside the logs: schedules, and what is to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

#: as a limit of how many are read: none
ALL: Final = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRow:
    """
    One schedule.

    Attributes:
        id: Its name.
        spec: What it does and when, JSON text; see ``core.cron.Spec``.
        paused: Whether nothing of it starts.
        last: Slots up to this moment are decided; UTC milliseconds.
        due: The next slot; None if there is none.
        waiting: A slot that starts when what runs has ended.
        running: Ids of its executions, of those that ended since its last change too.
        newest: Id of the last execution that came of it.
        made: How many executions came of it.
        skipped: How many slots came to nothing because one of its executions ran.
    """

    id: str
    spec: str
    paused: bool = False
    last: int
    due: int | None = None
    waiting: int | None = None
    running: tuple[str, ...] = ()
    newest: str | None = None
    made: int = 0
    skipped: int = 0


PrunedRow = tuple[int, int, int]
"""execution, and the version and inbox seq from which on its rows go; 0, 0: all of it"""

StartRow = tuple[str, int, int, int]
"""
queue, at (UTC milliseconds), elapsed (milliseconds that only move forward, see
``Clock.elapsed_ms``), and how many attempts of the queue were started then
"""


RefusalRow = tuple[int, int, str]
"""number of a letter that was refused, at (UTC milliseconds), the error (a Failure as JSON)"""

TaskKey = tuple[int, int, int]
"""execution, n of the call, attempt"""

GoneRow = tuple[int, int, int, bool]
"""the same, and whether the task goes only if nobody has claimed it"""


class TaskRow(Struct, frozen=True, kw_only=True, gc=False):
    """
    An attempt that is offered to other workers; see ``core.tasks``.

    Attributes:
        execution, n, attempt: Which attempt of which call.
        id: Of the execution.
        function: Name of the activity.
        manner: How it is run, JSON text; see ``tasks.Manner``.
        input: Its arguments, a JSON array.
        queue: Where it waits.
        priority: The higher one goes first there, then who came first.
    """

    execution: int
    n: int
    attempt: int
    id: str
    function: str
    manner: str
    input: str
    queue: str
    priority: int = 0

    @property
    def key(self) -> TaskKey:
        """Return which one it is."""
        return self.execution, self.n, self.attempt
