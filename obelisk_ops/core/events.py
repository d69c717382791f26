"""
The facts an execution log is made of.

An event is a row ``(version, at, kind, body)``; the body is JSON, one shape for
each kind, below. Kinds and field names are on disk for ever: add, never rename.

*Commands* are what the workflow's code asked for; on replay it must ask for the
same again. *Responses* are what it was told; on replay it is told the same, in
the same order. The rest says what happened meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field


@dataclass(frozen=True, slots=True)
class Event:
    """
    One immutable entry of an execution log.

    Attributes:
        version: Position in the log; 0 for ``created``, dense, never reused.
        at: UTC milliseconds since the Unix epoch.
        kind: One of the keys of BODIES.
        body: JSON text.
    """

    version: int
    at: int
    kind: str
    body: str


class Failure(Struct, omit_defaults=True):
    """
    An error as it is recorded.

    Attributes:
        type: ``module.qualname`` of the exception's class.
        message: Its text.
        args: Its ``args`` as a JSON array, where they can be written as JSON.
        traceback: For people.
        hint: What to try, where the error is one of this package's.
    """

    type: str
    message: str
    args: Raw | UnsetType = UNSET
    traceback: str = ""
    hint: str = ""


class Created(Struct, omit_defaults=True):
    """``created``: version 0 of every log. ``seed`` is what random numbers are drawn from."""

    fn: str
    input: Raw = field(name="in")
    seed: str = ""
    parent: str = ""


class Intended(Struct, omit_defaults=True):
    """
    ``intended`` (command): activity call *n* is wanted.

    ``attempt`` 1 means that the first attempt starts as soon as this is durable;
    0 that it waits for a free slot.
    """

    n: int
    fn: str
    input: Raw = field(name="in")
    set: str = ""
    attempt: int = field(name="try", default=0)


class AttemptStarted(Struct):
    """``attempt_started``: its outcome is unknown until a later event tells it."""

    n: int
    attempt: int = field(name="try")


class AttemptFailed(Struct):
    """``attempt_failed``: it is tried again at ``retry_at`` (UTC milliseconds)."""

    n: int
    attempt: int = field(name="try")
    error: Failure
    retry_at: int


class Returned(Struct, omit_defaults=True):
    """``returned`` (response): activity call *n* ended, with ``ok`` or with ``error``."""

    n: int
    ok: Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET


class TimerSet(Struct, omit_defaults=True):
    """``timer_set`` (command): ``wait`` is what was asked for, ``until`` what came of it."""

    n: int
    wait: int
    until: int
    set: str = ""


class TimerFired(Struct):
    """``timer_fired`` (response): with the inbox row that says so."""

    n: int
    seq: int


class ChildCreated(Struct, omit_defaults=True):
    """``child_created`` (command): a child workflow; its own log is under ``id``."""

    n: int
    id: str
    fn: str
    input: Raw = field(name="in")
    set: str = ""


class ChildFinished(Struct):
    """``child_finished`` (response): the value is in the inbox row ``seq``."""

    n: int
    seq: int


class Cancelled(Struct):
    """``cancelled`` (command): a join set was closed while call *n* was unfinished."""

    n: int


class Parked(Struct):
    """``parked``: the code does not fit the log; nothing is lost, mend the code."""

    error: Failure


class Resumed(Struct):
    """``resumed``: a parked execution goes on."""


class Finished(Struct, omit_defaults=True):
    """``finished`` (command): the last event; ``ok`` or ``error``."""

    ok: Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET


Body: TypeAlias = (
    Created | Intended | AttemptStarted | AttemptFailed | Returned | TimerSet | TimerFired
    | ChildCreated | ChildFinished | Cancelled | Parked | Resumed | Finished
)  # fmt: skip

BODIES: Final[dict[str, type[Any]]] = {
    "created": Created,
    "intended": Intended,
    "attempt_started": AttemptStarted,
    "attempt_failed": AttemptFailed,
    "returned": Returned,
    "timer_set": TimerSet,
    "timer_fired": TimerFired,
    "child_created": ChildCreated,
    "child_finished": ChildFinished,
    "cancelled": Cancelled,
    "parked": Parked,
    "resumed": Resumed,
    "finished": Finished,
}
KINDS: Final = {body: kind for kind, body in BODIES.items()}
COMMANDS: Final = frozenset({"intended", "timer_set", "child_created", "cancelled", "finished"})
RESPONSES: Final = frozenset({"returned", "timer_fired", "child_finished"})

_encode = msgspec.json.Encoder().encode
_decoders = {kind: msgspec.json.Decoder(body) for kind, body in BODIES.items()}


def encode(body: Body) -> str:
    """Write a body as JSON text."""
    return _encode(body).decode()


def decode(event: Event) -> Any:  # noqa: ANN401 - one of Body; callers know which by the kind
    """
    Read the body of an event.

    Raises:
        KeyError: The kind is unknown to this version of the program.
        msgspec.DecodeError: The body is damaged.
    """
    return _decoders[event.kind].decode(event.body)
