"""
The facts an execution log is made of.

An event is a row ``(version, at, kind, body)``; the body is JSON, one shape for
each kind, below. Kinds and field names are on disk for ever: add, never rename.

*Commands* are what the workflow's code asked for; on replay it must ask for the
same again. *Responses* are what it was told; on replay it is told the same, in
the same order. The rest says what happened meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field


class Event(Struct, frozen=True, gc=False):
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


class Origin(Struct):
    """Which execution a fork was made of, and how many of its events it began with."""

    id: str
    version: int


class Created(Struct, omit_defaults=True):
    """
    ``created``: version 0 of every log.

    Attributes:
        fn: The workflow.
        input: Its arguments, a JSON array.
        seed: What random numbers are drawn from; the execution's id when empty.
        parent: Id of the execution whose child this is.
        timeout: How long it may take, milliseconds; 0 for no limit.
        start_at: When its code begins, UTC milliseconds; 0 for at once.
        paused: Whether it was created paused.
        digest: Of the workflow's code; see ``upgraded``.
        continues: Id of the execution that continued as this one.
        forked_from: What it was forked from.
        cron: Id of the schedule that made it.
        cancellable: Whether a request to cancel it is heard.
        with_parent: Whether it is cancelled when its parent is, or closes.
    """

    fn: str
    input: Raw = field(name="in")
    seed: str = ""
    parent: str = ""
    timeout: int = 0
    start_at: int = 0
    paused: bool = False
    digest: str = ""
    continues: str = ""
    forked_from: Origin | None = None
    cron: str = ""
    cancellable: bool = True
    with_parent: bool = False


class Intended(Struct, omit_defaults=True):
    """
    ``intended`` (command): activity call *n* is wanted.

    ``attempt`` 1 means that the first attempt starts as soon as this is durable;
    0 that it waits: for a free slot, or, if it is made at most once, until the bucket
    holds this.
    """

    n: int
    fn: str
    input: Raw = field(name="in")
    set: str = ""
    attempt: int = field(name="try", default=0)
    queue: str = ""
    priority: int = 0


class AttemptStarted(Struct, omit_defaults=True):
    """
    ``attempt_started``: its outcome is unknown until a later event tells it.

    ``crashes`` is how many attempts before it ended together with their process.
    """

    n: int
    attempt: int = field(name="try")
    crashes: int = 0


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


class ChildCancel(Struct):
    """``child_cancel`` (command): child workflow *n* is asked to cancel; it still ends."""

    n: int


class SignalAwaited(Struct, omit_defaults=True):
    """``signal_awaited`` (command): a signal is wanted; until when, UTC ms (0: for ever)."""

    n: int
    name: str
    wait: int | None = None
    until: int = 0
    set: str = ""


class SignalReceived(Struct):
    """``signal_received`` (response): the signal is in the inbox row ``seq``."""

    n: int
    seq: int


class StubRequested(Struct, omit_defaults=True):
    """``stub_requested`` (command): a result from outside is wanted, by this call's id."""

    n: int
    fn: str
    input: Raw = field(name="in")
    set: str = ""


class StubAnswered(Struct):
    """``stub_answered`` (response): the result is in the inbox row ``seq``."""

    n: int
    seq: int


class SetAside(Struct):
    """``set_aside``: what came for call *n*, inbox row ``seq``, does not fit; it waits on."""

    n: int
    seq: int
    error: str


class Scheduled(Struct, omit_defaults=True):
    """``scheduled`` (command): a new execution without a parent; ``wait`` is what was asked."""

    n: int
    id: str
    fn: str
    input: Raw = field(name="in")
    wait: int = 0
    start_at: int = 0


class Patched(Struct):
    """``patched`` (command): the code has the deliberate change ``name``."""

    name: str


class CancelRequested(Struct, omit_defaults=True):
    """``cancel_requested`` (response): raised once at the current await; or ``timeout``."""

    reason: str = ""


class Cancelled(Struct):
    """``cancelled`` (command): a join set was closed while call *n* was unfinished."""

    n: int


class Paused(Struct, omit_defaults=True):
    """
    ``paused``: nothing is started, and no code runs, until ``unpaused``.

    ``moved`` when it goes on in another database, and so never again here.
    """

    moved: bool = False


class Unpaused(Struct):
    """``unpaused``: a paused execution goes on."""


class Upgraded(Struct):
    """``upgraded``: other code than before, found to fit the log, goes on from here."""

    digest: str


class Parked(Struct):
    """``parked``: the code does not fit the log; nothing is lost, mend the code."""

    error: Failure


class Resumed(Struct):
    """``resumed``: a parked execution goes on."""


class Finished(Struct, omit_defaults=True):
    """
    ``finished`` (command): the last event; ``ok`` or ``error``.

    ``result`` says more of an error: ``cancelled`` or ``timed_out``. ``continued`` is the
    id of the execution that goes on in its place.
    """

    ok: Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET
    result: str = ""
    continued: str = ""


Body: TypeAlias = (
    Created | Intended | AttemptStarted | AttemptFailed | Returned | TimerSet | TimerFired
    | ChildCreated | ChildFinished | ChildCancel | SignalAwaited | SignalReceived
    | StubRequested | StubAnswered | SetAside | Scheduled | Patched | CancelRequested
    | Cancelled | Paused | Unpaused | Upgraded | Parked | Resumed | Finished
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
    "child_cancel": ChildCancel,
    "signal_awaited": SignalAwaited,
    "signal_received": SignalReceived,
    "stub_requested": StubRequested,
    "stub_answered": StubAnswered,
    "set_aside": SetAside,
    "scheduled": Scheduled,
    "patched": Patched,
    "cancel_requested": CancelRequested,
    "cancelled": Cancelled,
    "paused": Paused,
    "unpaused": Unpaused,
    "upgraded": Upgraded,
    "parked": Parked,
    "resumed": Resumed,
    "finished": Finished,
}
KINDS: Final = {body: kind for kind, body in BODIES.items()}
COMMANDS: Final = frozenset(
    {
        "intended", "timer_set", "child_created", "child_cancel", "signal_awaited",
        "stub_requested", "scheduled", "patched", "cancelled", "finished",
    }
)  # fmt: skip
RESPONSES: Final = frozenset(
    {
        "returned", "timer_fired", "child_finished", "signal_received", "stub_answered",
        "cancel_requested",
    }
)  # fmt: skip

#: writes a body as JSON, in bytes
encode_bytes: Final = msgspec.json.Encoder().encode
_decoders = {kind: msgspec.json.Decoder(body).decode for kind, body in BODIES.items()}


def encode(body: Body) -> str:
    """Write a body as JSON text."""
    return encode_bytes(body).decode()


def decode(event: Event) -> Any:  # noqa: ANN401 - one of Body; callers know which by the kind
    """
    Read the body of an event.

    Raises:
        KeyError: The kind is unknown to this version of the program.
        msgspec.DecodeError: The body is damaged.
    """
    return _decoders[event.kind](event.body)


def decode_all(log: Iterable[Event]) -> list[Any]:
    """Read the bodies of many events; see ``decode``."""
    return [_decoders[event.kind](event.body) for event in log]
