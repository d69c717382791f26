"""
What happened in an execution, and when: every call, every attempt, every rest.

``core.fold`` tells where an execution is; this, how it came there. ``core.telling`` reads it
off a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from obelisk_ops.core.events import Failure


class Outcome(StrEnum):
    """
    What became of an attempt, or of a call.

    ``failed`` is an attempt that is followed by another one, ``error`` the last one;
    ``lost`` one that ended together with its process, and nobody knows how.
    """

    OPEN = "open"
    OK = "ok"
    FAILED = "failed"
    ERROR = "error"
    LOST = "lost"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Attempt:
    """
    One attempt of an activity.

    Attributes:
        number: 1, 2, …
        began_at: UTC milliseconds.
        ended_at: UTC milliseconds; of a lost one, when something was last recorded.
        outcome: What became of it.
        error: Why it failed.
        retry_at: When the next one was to begin; UTC milliseconds.
    """

    number: int
    began_at: int
    ended_at: int | None = None
    outcome: Outcome = Outcome.OPEN
    error: Failure | None = None
    retry_at: int | None = None


@dataclass(slots=True)
class Call:
    """
    One call of a workflow's code.

    Attributes:
        n: Its number.
        kind: ``activity``, ``timer``, ``child``, ``signal``, ``stub`` or ``scheduled``.
        function: Name of the activity, stub or workflow; of the signal.
        version: The event in which it was asked for.
        asked_at: UTC milliseconds.
        told_version: The event in which the code was told, or gave it up.
        told_at: UTC milliseconds.
        outcome: What became of it.
        input: Its arguments, a JSON array.
        value: What it returned, JSON.
        error: What it raised.
        attempts: Of an activity.
        due: When a timer fires, or is no longer waited; UTC milliseconds.
        wait_ms: How long a timer or a signal was to be waited for at most, as code said.
        queue: Of an activity; empty for the default one.
        target: Id of the execution that it made.
    """

    n: int
    kind: str
    function: str
    version: int
    asked_at: int
    told_version: int | None = None
    told_at: int | None = None
    outcome: Outcome = Outcome.OPEN
    input: bytes | None = None
    value: bytes | None = None
    error: Failure | None = None
    attempts: list[Attempt] = field(default_factory=list)
    due: int | None = None
    wait_ms: int | None = None
    queue: str = ""
    target: str = ""


class Rest(StrEnum):
    """
    Why no code ran for a while.

    ``died``: a process ended, nobody saw when, and at the end of this time the next took over.
    """

    UNBEGUN = "unbegun"
    PAUSED = "paused"
    PARKED = "parked"
    DIED = "died"


@dataclass(slots=True)
class Stretch:
    """A time in which no code ran; ``ended_at`` is None if that is so at the end."""

    rest: Rest
    began_at: int
    ended_at: int | None = None

    @property
    def has_length(self) -> bool:
        """Whether it took any time."""
        return self.ended_at is None or self.ended_at > self.began_at


@dataclass(frozen=True, slots=True)
class Mark:
    """
    Something that happened at one moment to the whole execution.

    Attributes:
        kind: ``signal``, ``cancel``, ``timeout``, ``upgraded`` or ``patched``.
        at: UTC milliseconds.
        text: For people: the signal's name, the change's name, the new digest.
    """

    kind: str
    at: int
    text: str = ""


@dataclass(slots=True)
class Chronicle:
    """
    What happened in an execution.

    Attributes:
        created_at: UTC milliseconds.
        last_at: The latest moment on record; UTC milliseconds.
        last_version: Of the last event.
        digest: Of the code that drove it last.
        began_at: When its code began; None if it has not.
        has_ended: Whether its last event is on record.
        input: Its arguments, a JSON array.
        value: What it returned, JSON.
        error: What it raised; while it is parked, why.
        continued_as: Id of the execution that goes on in its place.
        calls: By number.
        stretches: When no code ran.
        marks: What happened to the whole of it.
    """

    created_at: int
    last_at: int
    last_version: int = 0
    digest: str = ""
    began_at: int | None = None
    has_ended: bool = False
    input: bytes = b"null"
    value: bytes | None = None
    error: Failure | None = None
    continued_as: str = ""
    calls: dict[int, Call] = field(default_factory=dict)
    stretches: list[Stretch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
