"""
Decide what to do about each Litestream process.

A process serves a group of databases, often of one. Pure: the past comes in as
data, the next steps go out as data. Nothing else in the program decides to start
or to stop one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class ChildState(StrEnum):
    """Where a process is in its life."""

    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    What should run for one group of databases.

    Attributes:
        config: Digest of everything the process is started with.
        inodes: The file it may replicate, by database; None while there is none, or it
            is not known where its replica goes.
        is_complete: Whether nobody is about to join: a start need not wait for others.
    """

    config: str
    inodes: Mapping[str, int | None]
    is_complete: bool = True

    @property
    def files(self) -> dict[str, int]:
        """What can be replicated now, by database."""
        return {name: inode for name, inode in self.inodes.items() if inode is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """
    What is known of one process.

    Attributes:
        config: Digest of what it was started with.
        inodes: The files it opened, by database.
        state: Where it is in its life.
        since_ms: When it entered that state.
        answered_ms: When it last answered on its socket, or was started.
        failures: Quick exits in a row that nobody asked for.
    """

    config: str
    inodes: Mapping[str, int]
    state: ChildState
    since_ms: int
    answered_ms: int
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    How patient the supervisor is. All times in milliseconds.

    ``start_ms`` and ``start_each_ms`` for each of its databases: how long a process is left
    alone before it is replaced by one of another configuration.
    """

    stop_grace_ms: int = 15_000
    silent_ms: int = 10_000
    start_ms: int = 200
    start_each_ms: int = 50
    healthy_after_ms: int = 10_000
    backoff_first_ms: int = 250
    backoff_max_ms: int = 30_000
    fatal_failures: int = 6
    fatal_retry_ms: int = 60_000


class Step(StrEnum):
    """One thing to do about one process."""

    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"
    FORGET = "forget"


def next_step(
    wanted: Wanted | None, child: Child | None, *, now_ms: int, limits: Limits
) -> Step | None:
    """
    Return the step due now for one group; None if it is at rest.

    Args:
        wanted: What should run; None if nothing.
        child: What is known to run or to have run.
        now_ms: The clock that the times of *child* are on.
        limits: How patient to be.
    """
    if child is None:
        return Step.SPAWN if _may_start(wanted) else None
    match child.state:
        case ChildState.RUNNING:
            return _of_running(wanted, child, now_ms=now_ms, limits=limits)
        case ChildState.STOPPING:
            overdue = now_ms - child.since_ms >= limits.stop_grace_ms
            return Step.KILL if overdue or _is_foreign(wanted, child) else None
        case ChildState.EXITED:
            if wanted is None or not wanted.files:
                return Step.FORGET
            rested = now_ms - child.since_ms >= backoff_ms(child.failures, limits)
            return Step.SPAWN if rested and _may_start(wanted) else None


def backoff_ms(failures: int, limits: Limits) -> int:
    """Return the rest before the next start after *failures* quick exits in a row."""
    if failures == 0:
        return 0
    if failures >= limits.fatal_failures:
        return limits.fatal_retry_ms
    return min(limits.backoff_first_ms << min(failures - 1, 30), limits.backoff_max_ms)


def is_fatal(child: Child, limits: Limits) -> bool:
    """Tell whether the process failed so often that a person should look."""
    return child.state is ChildState.EXITED and child.failures >= limits.fatal_failures


def started(previous: Child | None, wanted: Wanted, *, now_ms: int) -> Child:
    """Return what is known of a process that was started just now."""
    if not wanted.files:
        raise AssertionError("a process is never started without a file")
    return Child(
        config=wanted.config,
        inodes=wanted.files,
        state=ChildState.RUNNING,
        since_ms=now_ms,
        answered_ms=now_ms,
        failures=previous.failures if previous else 0,
    )


def stopping(child: Child, *, now_ms: int) -> Child:
    """Return what is known of a process that was told to stop just now."""
    return replace(child, state=ChildState.STOPPING, since_ms=now_ms)


def exited(child: Child, *, now_ms: int, limits: Limits) -> Child:
    """Return what is known of a process that was seen to have ended just now."""
    if child.state is ChildState.STOPPING:
        failures = 0
    elif now_ms - child.since_ms >= limits.healthy_after_ms:
        failures = 1
    else:
        failures = child.failures + 1
    return replace(child, state=ChildState.EXITED, since_ms=now_ms, failures=failures)


def _of_running(
    wanted: Wanted | None, child: Child, *, now_ms: int, limits: Limits
) -> Step | None:
    if wanted is None:
        return Step.TERMINATE
    # A last sync would ship pages of one file and the WAL of another: no time for manners.
    if _is_foreign(wanted, child):
        return Step.KILL
    if now_ms - child.answered_ms >= limits.silent_ms:
        return Step.KILL
    is_up = now_ms - child.since_ms >= limits.start_ms + limits.start_each_ms * len(
        child.inodes
    )
    is_due = wanted.config != child.config and wanted.is_complete and is_up
    return Step.TERMINATE if is_due else None


def _may_start(wanted: Wanted | None) -> bool:
    return wanted is not None and bool(wanted.files) and wanted.is_complete


def _is_foreign(wanted: Wanted | None, child: Child) -> bool:
    """Tell whether the process holds a file that is no longer where it was."""
    if wanted is None:
        return False
    # Who has left the group is not among them: its file may be shipped to the end.
    inodes = wanted.inodes
    return any(inodes[name] != inode for name, inode in child.inodes.items() if name in inodes)
