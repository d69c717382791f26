"""
One execution as one JSON document: its log, its inbox, and what else there is of it.

What is in it is enough to replay the code, and to make the execution again in another
database: state and timers follow from the log. Fields that say nothing are left out. Bodies
are kept as they are on disk, one event on a line, so that two documents can be compared by
any tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as default
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Raw, Struct, field

from obelisk_ops.core.clock import iso
from obelisk_ops.core.events import BODIES, Created, Event
from obelisk_ops.core.ports import Beat, InboxItem, Output
from obelisk_ops.errors import InvalidInput

FORMAT = "obelisk-ops-history/1"
#: see History.source
LIVE, MOVED = "live", "moved"
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """
    What is known of one execution.

    Attributes:
        execution_id: Its id.
        function: Name of its workflow.
        parent_id: Id of the execution whose child it is; empty if of none.
        events: Its log, from version 0 on.
        inbox: What arrived for it, by seq.
        created_at: When it was asked for, UTC milliseconds, if not with its first event.
        beats: The last heartbeats of its open calls, by n.
        outputs: What its activities printed and logged, attempt by attempt.
        source: What becomes of an unfinished one where it was exported: LIVE when it goes on
            there, MOVED when it never will; empty when it may.
    """

    execution_id: str
    function: str
    parent_id: str = ""
    events: Sequence[Event]
    inbox: Mapping[int, InboxItem] = default(default_factory=dict)
    created_at: int | None = None
    beats: Mapping[int, Beat] = default(default_factory=dict)
    outputs: Sequence[Output] = ()
    source: str = ""

    @property
    def created(self) -> Created:
        """The body of its first event."""
        return msgspec.json.decode(self.events[0].body, type=Created)


class _Event(Struct):
    version: int
    at: str
    kind: str
    body: Raw


class _InboxRow(Struct):
    seq: int
    at: str
    kind: str
    ref: int
    body: Raw


class _Beat(Struct):
    n: int
    attempt: int = field(name="try")
    at: str
    body: Raw


class _Output(Struct):
    n: int
    attempt: int = field(name="try")
    stream: str
    at: str
    text: str


class _Document(Struct):
    format: str
    execution_id: str
    function: str
    events: list[_Event]
    inbox: list[_InboxRow]
    parent_id: str | None = None
    created_at: str | None = None
    beats: list[_Beat] = []
    output: list[_Output] = []
    source: str = ""


_decoder = msgspec.json.Decoder(_Document)
_encode = msgspec.json.Encoder().encode


def history_of(
    execution_id: str, log: Sequence[Event], inbox: Mapping[int, InboxItem]
) -> History:
    """Return the history of an execution, given its log and its inbox."""
    created = msgspec.json.decode(log[0].body, type=Created)
    return History(
        execution_id=execution_id,
        function=created.fn,
        parent_id=created.parent,
        events=tuple(log),
        inbox=dict(inbox),
    )


def to_json(history: History) -> str:
    """Write a history as one JSON document, an event on a line."""
    events = [
        _Event(version=e.version, at=iso(e.at), kind=e.kind, body=Raw(e.body.encode()))
        for e in history.events
    ]
    inbox = [
        _InboxRow(seq=seq, at=iso(i.at), kind=i.kind, ref=i.ref, body=Raw(i.body.encode()))
        for seq, i in sorted(history.inbox.items())
    ]
    fields = [
        ("format", _text(FORMAT)),
        ("execution_id", _text(history.execution_id)),
        ("function", _text(history.function)),
        ("parent_id", _text(history.parent_id or None)),
        ("events", _lines(events)),
        ("inbox", _lines(inbox)),
        *_more(history),
    ]
    return "{\n" + ",\n".join(f' "{name}": {text}' for name, text in fields) + "\n}\n"


def _more(history: History) -> Iterator[tuple[str, str]]:
    """Yield the fields that most histories have not."""
    if history.created_at is not None:
        yield "created_at", _text(iso(history.created_at))
    if history.beats:
        beats = [
            _Beat(n=n, attempt=b.attempt, at=iso(b.at), body=Raw(b.body.encode()))
            for n, b in sorted(history.beats.items())
        ]
        yield "beats", _lines(beats)
    if history.outputs:
        outputs = [
            _Output(n=o.n, attempt=o.attempt, stream=o.stream, at=iso(o.at), text=o.text)
            for o in history.outputs
        ]
        yield "output", _lines(outputs)
    if history.source:
        yield "source", _text(history.source)


def from_json(text: str | bytes) -> History:
    """
    Read what ``to_json`` wrote, also when it was laid out anew since.

    Raises:
        InvalidInput: It is no such document, it is of a later version, or it has holes.
    """
    document = _read(text)
    try:
        events = tuple(
            Event(e.version, _milliseconds(e.at), e.kind, _compact(e.body))
            for e in document.events
        )
        inbox = {
            row.seq: InboxItem(row.kind, row.ref, _milliseconds(row.at), _compact(row.body))
            for row in document.inbox
        }
        beats = {
            b.n: Beat(b.attempt, _milliseconds(b.at), _compact(b.body)) for b in document.beats
        }
        outputs = tuple(
            Output(o.n, o.attempt, o.stream, _milliseconds(o.at), o.text)
            for o in document.output
        )
        created_at = _milliseconds(document.created_at) if document.created_at else None
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"a moment in this history cannot be read: {error}") from error
    _check(document, events)
    return History(
        execution_id=document.execution_id,
        function=document.function,
        parent_id=document.parent_id or "",
        events=events,
        inbox=inbox,
        created_at=created_at,
        beats=beats,
        outputs=outputs,
        source=document.source,
    )


def _read(text: str | bytes) -> _Document:
    try:
        document = _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"this is no history of an execution: {error}",
            hint="give the file that an execution was exported to",
        ) from error
    if document.format != FORMAT:
        raise InvalidInput(
            f"this history has the format {document.format!r}; known is {FORMAT!r}",
            hint="a later version of this program may read it",
        )
    return document


def _check(document: _Document, events: Sequence[Event]) -> None:
    if [event.version for event in events] != list(range(len(events))):
        _refuse(document, "its versions are not 0, 1, 2, …")
    if not events or events[0].kind != "created":
        _refuse(document, "it does not begin with 'created'")
    unknown = next((event for event in events if event.kind not in BODIES), None)
    if unknown is not None:
        _refuse(document, f"version {unknown.version} is of an unknown kind, {unknown.kind!r}")
    for event in events:
        try:
            msgspec.json.decode(event.body, type=BODIES[event.kind])
        except msgspec.DecodeError as error:
            _refuse(document, f"version {event.version}, {event.kind!r}: {error}")


def _refuse(document: _Document, why: str) -> None:
    raise InvalidInput(f"the history of {document.execution_id!r} cannot be used: {why}")


def _lines(rows: Sequence[Struct]) -> str:
    if not rows:
        return "[]"
    return "[\n  " + ",\n  ".join(_encode(row).decode() for row in rows) + "\n ]"


def _text(value: str | None) -> str:
    return _encode(value).decode()


def _compact(body: Raw) -> str:
    return msgspec.json.format(bytes(body), indent=-1).decode()


def _milliseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH_START) // timedelta(milliseconds=1)
