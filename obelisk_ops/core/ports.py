"""The door to a database. Backends store; they decide nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from msgspec import Struct
from msgspec.structs import astuple

from obelisk_ops.core.arrivals import Arrivals, Sender, Taker
from obelisk_ops.core.events import Event
from obelisk_ops.core.ready import Ready
from obelisk_ops.core.rows import CronRow, GoneRow, PrunedRow, RefusalRow, StartRow, TaskRow
from obelisk_ops.errors import OpsError


class State(StrEnum):
    """Where an execution is in its life. The value is the form on disk."""

    PENDING = "pending"
    RUNNING = "running"
    BLOCKED = "blocked"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    PARKED = "parked"
    FINISHED = "finished"


class Result(StrEnum):
    """How a finished execution ended. The value is the form on disk."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


# What every step makes is a struct of msgspec: made in a fraction of the time, and where
# it holds nothing but plain values the garbage collector need not look at it.


class StateRow(Ready, Struct, frozen=True, kw_only=True, gc=False):
    """
    One execution in the table of executions; a projection of its log.

    Attributes:
        key: The integer that the other tables know it by.
        id: Its name.
        parent: Key of the execution that created it, or None.
        parent_n: The number of that call in the parent.
        function: Name of the workflow.
        state: Where it is.
        result: How it ended, once finished.
        created_at, finished_at: UTC milliseconds, the second once it is finished.
        error: ``type: message`` of a failure, or why it is parked.
    """

    key: int
    id: str
    parent: int | None = None
    parent_n: int | None = None
    function: str
    state: State
    result: Result | None = None
    created_at: int
    finished_at: int | None = None
    error: str | None = None


class StateChange(Struct, frozen=True, kw_only=True, gc=False):
    """The new state of one execution."""

    key: int
    state: State
    result: Result | None = None
    finished_at: int | None = None
    error: str | None = None


LogRow = tuple[int, int, int, str, str]
"""execution, version, at (UTC milliseconds), kind, body (JSON text)"""

InboxRow = tuple[int, int, str, int, int, str]
"""execution, seq (1, 2, … in each execution), kind, n of the call, at, body (JSON text)"""

TimerRow = tuple[int, int, int]
"""execution, n of the call, due (UTC milliseconds)"""

BeatRow = tuple[int, int, int, int, str]
"""execution, n of the call, attempt, at (UTC milliseconds), details (JSON text)"""

OutputRow = tuple[int, int, int, int, str, int, str]
"""execution, n of the call, attempt, seq (1, 2, … in each attempt), stream, at, text"""


@dataclass(frozen=True, slots=True)
class Beat:
    """
    The last heartbeat of an open call.

    Attributes:
        attempt: Number of the attempt that gave it.
        at: UTC milliseconds.
        body: Its details, JSON text.
    """

    attempt: int
    at: int
    body: str


@dataclass(frozen=True, slots=True)
class Output:
    """
    A piece of what one attempt of an activity printed or logged.

    Attributes:
        n: Number of the call.
        attempt: Number of the attempt.
        stream: ``stdout``, ``stderr``, ``log``; or ``cut``, whose text is the number of
            bytes that were left out in this place.
        at: When it began; UTC milliseconds.
        text: As it was written.
    """

    n: int
    attempt: int
    stream: str
    at: int
    text: str


class InboxItem(Struct, frozen=True, gc=False):
    """
    What arrived for an execution from outside its code.

    Attributes:
        kind: ``timer``, ``child``, ``signal``, ``stub``, or ``result`` (the outcome of
            an activity that ended while the execution was paused).
        ref: The number of the call it answers; 0 for a signal.
        at: UTC milliseconds.
        body: JSON text.
    """

    kind: str
    ref: int
    at: int
    body: str


class Write(Struct):
    """
    Rows that are written together or not at all.

    One drive of one execution, and what must be atomic with it: a child's
    creation with the parent's event, a child's end with the parent's inbox row.
    """

    execution: int
    log: list[LogRow]
    created: Sequence[StateRow] = ()
    changed: Sequence[StateChange] = ()
    inbox: Sequence[InboxRow] = ()
    timers: Sequence[TimerRow] = ()
    timers_done: Sequence[tuple[int, int]] = ()
    letters_done: Sequence[int] = ()
    crons: Sequence[CronRow] = ()
    crons_gone: Sequence[str] = ()
    beats: Sequence[BeatRow] = ()
    beats_done: Sequence[tuple[int, int]] = ()
    outputs: Sequence[OutputRow] = ()
    pruned: Sequence[PrunedRow] = ()
    starts: Sequence[StartRow] = ()
    starts_gone: Sequence[tuple[str, int]] = ()
    refusals: Sequence[RefusalRow] = ()
    tasks: Sequence[TaskRow] = ()
    tasks_gone: Sequence[GoneRow] = ()

    @property
    def is_log_only(self) -> bool:
        """Whether it holds log rows and nothing else: the common, sequential step."""
        return astuple(self)[2:] == _NO_ROWS

    @property
    def executions(self) -> set[int]:
        """Whose rows it holds: a child's end holds rows of its parent too."""
        rows = self.log, self.inbox, self.timers, self.timers_done, self.beats, self.beats_done
        more = self.outputs, self.pruned
        return {
            self.execution,
            *(row[0] for table in (*rows, *more) for row in table),
            *(row.key for row in self.created),
            *(change.key for change in self.changed),
        }


#: what a write of log rows alone has in all its other fields
_NO_ROWS = ((),) * (len(Write.__struct_fields__) - 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """
    What another process asks the owner for.

    Attributes:
        id: Its place in the mailbox.
        at: UTC milliseconds.
        kind: ``create``, ``cancel``, ``pause``, ``unpause``, ``signal``, ``stub``, …
        target: The id of the execution, for ``stub`` of the call, or of the schedule.
        body: JSON text; for ``create`` the body of the ``created`` event. Those of
            other kinds stand in ``core.requests`` and ``core.schedules``.
    """

    id: int
    at: int
    kind: str
    target: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions to list; None means any."""

    state: str | None = None
    function: str | None = None
    since: int | None = None
    error: str | None = None
    after: str | None = None
    limit: int = 100


class LogReader(Arrivals, Protocol):
    """Reading, by anyone, while an owner may be writing."""

    def find(self, execution_id: str) -> StateRow | None:
        """Return the execution with this id, if there is one."""
        ...

    def get(self, key: int) -> StateRow:
        """
        Return the execution with this key.

        Raises:
            ExecutionNotFound: It has been pruned.
        """
        ...

    def executions(self, wanted: ExecutionFilter) -> list[StateRow]:
        """Return executions in the order of their creation."""
        ...

    def log(self, key: int) -> list[Event]:
        """Return one execution's whole log, oldest first."""
        ...

    def first(self, key: int) -> Event:
        """Return how one execution was created."""
        ...

    def last(self, key: int) -> Event:
        """Return the last event of one execution's log."""
        ...

    def events_of(self, key: int, kinds: Collection[str]) -> list[Event]:
        """Return the events of these kinds in one execution's log, oldest first."""
        ...

    def inbox(self, key: int) -> dict[int, InboxItem]:
        """Return one execution's inbox by seq."""
        ...

    def beats(self, key: int) -> dict[int, Beat]:
        """Return the last heartbeats of one execution's open calls, by n."""
        ...

    def outputs(self, key: int) -> list[Output]:
        """Return what one execution's activities printed and logged, attempt by attempt."""
        ...

    def meta(self) -> Mapping[str, str]:
        """Return what the database says of itself: schema_version, database_id, epoch."""
        ...

    def letters(self, limit: int) -> list[Letter]:
        """Return what waits in the mailbox, oldest first."""
        ...

    def letters_to(self, execution_id: str) -> list[Letter]:
        """Return what waits for one execution, or for something below it, oldest first."""
        ...

    def crons(self) -> list[CronRow]:
        """Return all schedules, by id."""
        ...

    def cron(self, schedule_id: str) -> CronRow | None:
        """Return the schedule with this id, if there is one."""
        ...

    def newest_link(self, execution_id: str) -> StateRow | None:
        """Return the last one that went on in place of this: of ``a~2``, ``a~3`` and so on."""
        ...

    def changes(self) -> int:
        """Return a number that changes when another connection has committed."""
        ...

    def close(self) -> None:
        """Let go of the database. Closing twice is allowed."""
        ...


class LogStore(LogReader, Taker, Protocol):
    """
    The owner's side.

    Every backend passes ``tests/contract``; what that suite does not say, no caller
    may rely on.
    """

    def commit(self, writes: Sequence[Write]) -> Mapping[int, OpsError]:
        """
        Make all writes durable with one sync, in this order.

        Returns:
            The writes that were refused, by their position, with the reason; so are
            later writes of the same executions. All others are durable.

        Raises:
            StorageUnavailable: Nothing was written; the same call may succeed later.
        """
        ...

    def unfinished(self) -> list[StateRow]:
        """Return every execution that is not finished, oldest first."""
        ...

    def timers(self, key: int) -> dict[int, int]:
        """Return one execution's armed timers: n → due."""
        ...

    def armed(self) -> list[TimerRow]:
        """Return every armed timer of every unfinished execution, by due time."""
        ...

    def last_beats(self) -> list[BeatRow]:
        """Return the last heartbeat of every call that has one."""
        ...

    def starts(self) -> list[StartRow]:
        """
        Return when attempts of queues with a rate were started, by queue and time.

        ``Write.starts`` adds to them, ``starts_gone`` drops those of a queue and a moment.
        """
        ...

    def ends(self, key: int) -> tuple[int, int]:
        """Return how many events one execution's log has, and its last inbox seq."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Record which epoch of its backup this file writes to."""
        ...

    def checkpoint_by_itself(self, *, wanted: bool = True) -> None:
        """Say whether commits also tidy the write-ahead log; not while Litestream reads it."""
        ...

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file as far as nobody is in the way."""
        ...


class Mailbox(LogReader, Sender, Protocol):
    """What a process that does not own the database may do: read, and ask."""

    def ask(self, kind: str, target: str, body: str, *, now_ms: int) -> bool:
        """
        Put a letter into the mailbox, unless it would change nothing.

        Returns:
            Whether it was put there; False when what it asks for is so already. See
            ``core.requests``.

        Raises:
            Conflict: It contradicts what is; which one, ``core.requests`` says.
            NotFound: There is no such execution, or call.
        """
        ...
