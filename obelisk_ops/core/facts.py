"""What is known of an execution of which somebody asks something: read, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec

from obelisk_ops.core import events, ids
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import InboxItem, Letter, LogReader, State, StateRow
from obelisk_ops.core.requests import (
    MAKING,
    REQUESTS,
    Facts,
    execution_of,
    signal_id,
    split_call,
)

#: letters that change what may be asked of an execution
_MATTERING: Final = MAKING | {"cancel", "pause", "unpause"}
#: of how many predecessors the ids of signals are known
_REMEMBERED: Final = 100
#: events that tell whether a request is news
TELLING: Final = frozenset(
    {"created", "paused", "unpaused", "cancel_requested", "stub_requested", "cancelled"}
)


def facts_of(
    reader: LogReader, kind: str, target: str, body: str, *, with_letters: bool = True
) -> Facts:
    """
    Read what ``is_news`` needs for this request, and no more.

    Args:
        reader: The database.
        kind: Of the request.
        target: Of the request.
        body: Of the request.
        with_letters: Whether what waits in the mailbox counts; not for who answers it.
    """
    asked = execution_id = execution_of(kind, target)
    if kind in REQUESTS and kind != "stub":  # a stub is a call of this one, and no other
        execution_id = ids.latest(asked, reader.find, reader.newest_link)
    letters = (
        _letters(reader, kind, target, body, names=dict.fromkeys((asked, execution_id)))
        if with_letters
        else []
    )
    row = reader.find(execution_id)
    if row is None:
        made = [letter for letter in letters if letter.kind in MAKING]
        return _to_be_made(made[0], letters) if made else Facts(letters=letters)
    log = _telling(reader, kind, row)
    arrived: InboxItem | None = None
    if kind == "stub":
        arrived = _answer_to(reader, row.key, split_call(target)[1])
    elif kind == "signal" and (wanted := signal_id(body)):
        arrived = _same_signal(reader, execution_id, wanted)
    return facts_from(row.state, log, [] if arrived is None else [arrived], letters)


def _telling(reader: LogReader, kind: str, row: StateRow) -> list[Event]:
    """Return the events that matter; of one that gets a signal, only where it may be moved."""
    if kind != "signal":
        return reader.events_of(row.key, TELLING)
    return reader.events_of(row.key, {"paused"}) if row.state is State.PAUSED else []


def _letters(
    reader: LogReader, kind: str, target: str, body: str, *, names: Iterable[str]
) -> list[Letter]:
    """Return what waits in the mailbox and matters: few, however many wait there."""
    found = [letter for name in names for letter in reader.find_letters(name, _MATTERING)]
    if kind == "stub":
        found += reader.find_letters(target, {"stub"})
    elif kind == "signal" and (wanted := signal_id(body)):
        same = (reader.find_signal_letter(name, wanted) for name in names)
        found += [letter for letter in same if letter is not None]
    return sorted(found, key=lambda letter: letter.id)


def _same_signal(reader: LogReader, execution_id: str, wanted: str) -> InboxItem | None:
    """Return the signal, also if it met one that went on as this execution since."""
    before = islice(ids.predecessors(execution_id), _REMEMBERED)
    for name in (execution_id, *before):
        row = reader.find(name)
        if row is None:
            continue
        first = reader.find_signal(row.key, wanted)
        found = _not_aside(
            reader, row.key, first,
            lambda item: item.kind == "signal" and signal_id(item.body) == wanted,
        )  # fmt: skip
        if found is not None:
            return found
    return None


def _answer_to(reader: LogReader, key: int, n: int) -> InboxItem | None:
    first = reader.find_answer(key, n)
    return _not_aside(reader, key, first, lambda item: (item.kind, item.ref) == ("stub", n))


def _not_aside(
    reader: LogReader, key: int, first: InboxItem | None, is_meant: Callable[[InboxItem], bool]
) -> InboxItem | None:
    """Return the *first* that is meant, or the first of those that were not set aside."""
    told = reader.events_of(key, {"set_aside"}) if first is not None else []
    if not told:
        return first
    aside = {events.decode(event).seq for event in told}
    left = (item for seq, item in sorted(reader.inbox(key).items()) if seq not in aside)
    return next(filter(is_meant, left), None)


def facts_from(
    state: State, log: Iterable[Event], inbox: Iterable[InboxItem], letters: Sequence[Letter]
) -> Facts:
    """Take the facts from a log (of which TELLING is enough) and an inbox."""
    created, is_cancelling, is_cancellable = "", False, True
    is_paused = is_moved = False
    numbers: dict[str, set[int]] = {"stub_requested": set(), "cancelled": set()}
    for event in log:
        match event.kind:
            case "created":
                body = events.decode(event)
                created, is_paused = event.body, body.paused
                is_cancellable = body.cancellable
            case "paused":
                is_paused, is_moved = True, events.decode(event).moved
            case "unpaused":
                is_paused = is_moved = False
            case "cancel_requested":
                is_cancelling = True
            case "stub_requested" | "cancelled":
                numbers[event.kind].add(events.decode(event).n)
            case _:
                pass
    arrived = list(inbox)
    return Facts(
        state=state,
        created=created,
        is_paused=is_paused,
        is_moved=is_moved,
        is_cancelling=is_cancelling,
        is_cancellable=is_cancellable,
        stubs=frozenset(numbers["stub_requested"]),
        cancelled=frozenset(numbers["cancelled"]),
        signals=frozenset(signal_id(item.body) for item in arrived if item.kind == "signal"),
        answers={item.ref: item.body for item in arrived if item.kind == "stub"},
        letters=letters,
    )


def _to_be_made(letter: Letter, letters: Sequence[Letter]) -> Facts:
    """Return the facts of an execution that waits to be begun."""
    if letter.kind != "create":
        return Facts(state=State.PENDING, letters=letters)
    try:
        paused = msgspec.json.decode(letter.body, type=events.Created).paused
    except msgspec.DecodeError:
        paused = False
    return Facts(state=State.PENDING, created=letter.body, is_paused=paused, letters=letters)
