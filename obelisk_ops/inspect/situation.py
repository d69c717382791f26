"""Gathering what ``core.why`` explains: an execution, its inbox, its open child workflows."""

from __future__ import annotations

import msgspec

from obelisk_ops.core import ids
from obelisk_ops.core.events import Event
from obelisk_ops.core.fold import Story, fold
from obelisk_ops.core.ports import InboxItem, LogReader, State, StateRow
from obelisk_ops.core.why import Arrival, Situation


def situation_of(reader: LogReader, row: StateRow) -> Situation:
    """Read what is known of an execution and of the child workflows that it waits for."""
    log = reader.log(row.key)
    story = fold(log)
    return Situation(
        row=row,
        story=story,
        beats=reader.beats(row.key),
        arrived=_arrived(log, reader.inbox(row.key)),
        children=_children(reader, row, story),
    )


def _children(reader: LogReader, row: StateRow, story: Story) -> dict[int, Situation]:
    if story.has_ended:
        return {}
    found = {}
    for call in story.calls.values():
        if call.kind == "child" and call.outcome is None:
            child = reader.find(ids.derived(row.id, call.n))
            if child is not None and child.state is not State.FINISHED:
                found[call.n] = situation_of(reader, child)
    return found


def _arrived(log: list[Event], inbox: dict[int, InboxItem]) -> tuple[Arrival, ...]:
    """Return what no event of the log refers to."""
    taken = {msgspec.json.decode(event.body).get("seq") for event in log}
    return tuple(
        Arrival(kind=item.kind, name=_name(item), at=item.at)
        for seq, item in sorted(inbox.items()) if seq not in taken
    )  # fmt: skip


def _name(item: InboxItem) -> str:
    if item.kind != "signal":
        return str(item.ref)
    return str(msgspec.json.decode(item.body).get("name", ""))
