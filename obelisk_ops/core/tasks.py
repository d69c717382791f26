"""
Tasks: attempts that the owner of an execution offers to other workers.

A task is one row from its offer to the record of its outcome. The owner writes it, a worker
claims it and puts its outcome there, and the owner takes it away with the commit that
records what came of it. Whatever dies in between, the row says how far it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from msgspec import UNSET, Raw, Struct, UnsetType

from obelisk_ops.core.events import Failure
from obelisk_ops.core.ports import BeatRow, OutputRow
from obelisk_ops.core.rows import TaskKey, TaskRow


class Manner(Struct, omit_defaults=True):
    """
    How whoever claims a task runs it: what its owner's code says, not the claimer's.

    Attributes:
        timeout_ms: How long it may take; 0 for no limit.
        silence_ms: How long it may go without a heartbeat; 0 for no limit.
        at_most_once: Whether a timeout leaves its outcome unknown.
        overlap: Whether the thread of an attempt before it may still run.
        isolation: ``thread`` or ``process``.
    """

    timeout_ms: int = 0
    silence_ms: int = 0
    at_most_once: bool = False
    overlap: bool = False
    isolation: Literal["thread", "process"] = "thread"


#: how long a connection that is not there may take to come again
GRACE_MS: Final = 1000


class Claim(Struct, frozen=True, kw_only=True):
    """
    A task that a worker has claimed.

    Attributes:
        task: What is to be done.
        details: Of the last heartbeat of its call, JSON text.
    """

    task: TaskRow
    details: str | None = None


class Outcome(Struct, omit_defaults=True):
    """
    What came of a task: ``ok`` or ``error``; neither if it was cut short.

    Attributes:
        ok: Its result.
        error: What it raised.
        ran_ms: How long it ran.
        details: Of its last heartbeat.
    """

    ok: Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET
    ran_ms: int = 0
    details: Raw | UnsetType = UNSET


class Standing(Struct, frozen=True, kw_only=True):
    """
    How far a task is.

    Attributes:
        key: Which one.
        worker: Who has claimed it; None for nobody.
        outcome: What came of it, JSON text; None while nothing has.
        is_over: Whether its execution is finished, or forgotten: nobody waits for it.
    """

    key: TaskKey
    worker: int | None
    outcome: str | None
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """
    What a worker is to know.

    Attributes:
        wanted: What it has claimed, not finished, and is still to do.
        is_any: Whether there are tasks that nobody has claimed.
        others: The queues that other workers serve.
    """

    wanted: frozenset[TaskKey]
    is_any: bool
    others: frozenset[str]


class Sighting(NamedTuple):
    """
    What is seen of a worker that has claimed tasks.

    Attributes:
        worker: Which one.
        is_over: Whether its lease is.
        is_gone: Whether its connection has ended; it may make another.
    """

    worker: int
    is_over: bool
    is_gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """
    A task as people are told of it.

    Attributes:
        execution, n: Which call.
        queue, function: Where it waits, and for whose code.
        is_done: Whether its outcome is there.
        is_claimed: Whether a worker has it.
        host, pid: Which; None if that has let go.
        ahead: How many go before it.
        is_served: Whether a worker lives that serves its queue.
        has_code: Whether one of those has the code.
    """

    execution: int
    n: int
    queue: str
    function: str
    is_done: bool
    is_claimed: bool
    host: str | None
    pid: int | None
    ahead: int
    is_served: bool
    has_code: bool


def told(view: View) -> str:
    """Say in words how far a task is."""
    if view.is_done:
        return "its outcome is there, and waits for the owner of the execution"
    if view.is_claimed:
        return f"worker pid {view.pid} on {view.host} has it" if view.pid else "a worker had it"
    if not view.is_served:
        return f"no worker serves queue {view.queue!r}"
    if not view.has_code:
        return f"no worker that serves queue {view.queue!r} has the code of {view.function}"
    before = f"; {view.ahead} before it" if view.ahead else ""
    return f"the workers that serve queue {view.queue!r} have no free place{before}"


def lost(seen: Sequence[Sighting], gone_since: Mapping[int, int], now_ms: int) -> set[int]:
    """
    Return which workers are dead: what they have claimed is not waited for.

    Args:
        seen: How they are.
        gone_since: Since when connections are missing, by a clock that only moves forward.
        now_ms: By the same.
    """
    return {
        one.worker for one in seen
        if one.is_over
        or (one.is_gone and now_ms - gone_since.get(one.worker, now_ms) >= GRACE_MS)
    }  # fmt: skip


class Board(Protocol):
    """Where tasks are offered, as the owner of their executions sees it."""

    def tasks(self) -> list[Standing]:
        """Return every task, by its key."""
        ...

    def answered(self) -> list[Standing]:
        """Return those that have an outcome."""
        ...

    def running(self) -> list[Standing]:
        """Return those that somebody has claimed, and that have none."""
        ...

    def sight(self, workers: Collection[int]) -> list[Sighting]:
        """Return how these workers are."""
        ...

    def call(self, workers: Collection[int]) -> None:
        """Let workers show that they live, where they hear it; nobody waits for that."""
        ...


class Wish(NamedTuple):
    """
    Which tasks a worker would claim.

    Attributes:
        queue, functions, room: See ``Counter.claim``.
    """

    queue: str
    functions: Collection[str]
    room: int


NOTHING: Final = Wish("", (), 0)


class Counter(Protocol):
    """
    Where tasks are claimed, as the worker that does so sees it.

    Attributes:
        worker: Who it is. A number that no other worker has had.
    """

    worker: int

    def claim(self, queue: str, functions: Collection[str], room: int) -> list[Claim]:
        """
        Claim the next tasks of a queue.

        Args:
            queue: Which one.
            functions: The activities that this worker has the code of.
            room: How many at most.
        """
        ...

    def claim_at_rate(
        self, queue: str, functions: Collection[str], room: int, many: int, per_ms: int
    ) -> tuple[list[Claim], bool]:
        """
        Claim as many as a rate allows: all that claim count together, by the server's clock.

        Args:
            queue: Which one.
            functions: The activities that this worker has the code of.
            room: How many at most.
            many: How many may start within any period.
            per_ms: Its length.

        Returns:
            The claims, and whether the rate held back any more.
        """
        ...

    def claims(self) -> list[Claim]:
        """Return what this worker has claimed, and not finished."""
        ...

    def news(self, functions: Collection[str]) -> News:
        """Say that this worker lives and has this code; return what it is to know."""
        ...

    def finish(
        self, outcomes: Sequence[tuple[TaskKey, str]], outputs: Sequence[OutputRow],
        beats: Sequence[BeatRow], wish: Wish = NOTHING,
    ) -> list[Claim]:  # fmt: skip
        """
        Say what came of tasks, with what they printed and their last heartbeats.

        Of a task that is no longer wanted of this worker nothing is kept. What is wished for
        is claimed in the same transaction.
        """
        ...

    def release(self, tasks: Collection[TaskKey]) -> None:
        """Let others have what this worker has claimed and not begun."""
        ...

    def beat(self, beats: Sequence[BeatRow]) -> None:
        """Note heartbeats of what this worker runs."""
        ...

    def close(self) -> None:
        """Be no worker any more. Twice is allowed."""
        ...

    def abandon(self) -> None:
        """Be none as if the process had been killed."""
        ...
