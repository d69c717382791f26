"""
A new execution with the beginning of another one's log.

What the original was told before the fork is told again; what it asked for and had no
answer to by then goes on under the new execution's name:

- an activity is attempted again, under new call ids (so: new idempotency keys);
- a timer fires when it was to fire, at once if that is past;
- a signal is waited for, and those that had arrived have arrived here, too;
- a stub has the original's answer if there is one, else it waits for one of its own;
- a child workflow has the original's outcome. Without one the fork is refused: the child
  belongs to the original, and running it twice is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from obelisk_ops.core import events, ids
from obelisk_ops.core.events import Created, Event, Origin
from obelisk_ops.core.fold import CallStory, aside_in, fold, is_closing
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.errors import Conflict, InvalidInput


def fork(origin: History, version: int, new_id: str) -> History:
    """
    Return a history that begins with the events of *origin* before *version*.

    Raises:
        InvalidInput: There is no such version, or it is after the end.
        Conflict: A child workflow was open by then, and has no outcome.
    """
    prefix = _prefix(origin, version)
    inbox = _inbox(origin, prefix)
    for item in _outcomes(origin, prefix, inbox):
        inbox[max(inbox, default=0) + 1] = item
    created = msgspec.json.decode(prefix[0].body, type=Created)
    created.forked_from = Origin(id=origin.execution_id, version=version)
    created.seed = created.seed or origin.execution_id
    created.parent = created.cron = ""
    first = Event(0, prefix[0].at, "created", events.encode(created))
    return History(
        execution_id=new_id,
        function=origin.function,
        events=(first, *prefix[1:]),
        inbox=inbox,
    )


def default_id(execution_id: str, version: int) -> str:
    """Return the id of a fork that was given none."""
    return f"{execution_id.replace('/', '.').replace('~', '.')}.fork-{version}"


def _prefix(origin: History, version: int) -> Sequence[Event]:
    last = len(origin.events) - (origin.events[-1].kind == "finished")
    if not 1 <= version <= last:
        raise InvalidInput(
            f"execution {origin.execution_id!r} cannot be forked from version {version}",
            hint=f"from 1 (only its input) to {last} (all of it but the end)",
        )
    prefix = list(origin.events[:version])
    while prefix[-1].kind == "parked" or is_closing(prefix):
        prefix.pop()  # the new one is to go on
    return prefix


def _inbox(origin: History, prefix: Sequence[Event]) -> dict[int, InboxItem]:
    """Return what had arrived by then."""
    told = [msgspec.json.decode(event.body, type=dict).get("seq", 0) for event in prefix]
    last, end = max(told, default=0), prefix[-1].at
    kept: dict[int, InboxItem] = {}
    for seq, item in sorted(origin.inbox.items()):
        if seq <= last:
            kept[seq] = item
        elif item.kind == "signal" and item.at <= end:
            kept[max(kept, default=0) + 1] = item
    return kept


def _outcomes(
    origin: History, prefix: Sequence[Event], inbox: dict[int, InboxItem]
) -> Iterator[InboxItem]:
    """Yield what the original was answered later to calls that were open by then."""
    here = _answers(inbox, aside_in(prefix))
    known = _answers(origin.inbox, aside_in(origin.events))
    for call in fold(prefix).calls.values():
        if call.outcome is None and call.kind in ("child", "stub"):
            answer = known.get((call.kind, call.n))
            if answer is None and call.kind == "child":
                raise _refusal(origin, prefix, call)
            if answer is not None and (call.kind, call.n) not in here:
                yield answer


def _answers(
    inbox: Mapping[int, InboxItem], aside: set[int]
) -> dict[tuple[str, int], InboxItem]:
    """Return what came for each call, but for what did not fit it."""
    return {(item.kind, item.ref): item for seq, item in inbox.items() if seq not in aside}


def _refusal(origin: History, prefix: Sequence[Event], call: CallStory) -> Conflict:
    asked = next(
        event.version
        for event in prefix
        if event.kind == "child_created" and events.decode(event).n == call.n
    )
    child = ids.derived(origin.execution_id, call.n)
    return Conflict(
        f"the child workflow {child!r} was open by then, and has no outcome yet",
        hint=f"fork from version {asked}, before it was made, or wait for its end",
    )
