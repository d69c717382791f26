"""All that is on record of one execution, for whoever tells its story."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from obelisk_ops.core import ids
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import LogReader, Output, StateRow
from obelisk_ops.core.why import Situation
from obelisk_ops.inspect.histories import history_in, successors
from obelisk_ops.inspect.situation import situation_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """
    What is on record of one execution.

    Attributes:
        situation: Where it is, and the child workflows that it waits for.
        history: Its log and its inbox.
        outputs: What its activities printed and logged, attempt by attempt.
        parent_id: Id of the execution that made it.
        children: By the number of the call, the child workflows that are not pruned.
    """

    situation: Situation
    history: History
    outputs: tuple[Output, ...]
    parent_id: str | None
    children: dict[int, StateRow]

    @property
    def row(self) -> StateRow:
        """Where it is."""
        return self.situation.row


def dossier_of(reader: LogReader, row: StateRow) -> Dossier:
    """Read all that is on record of one execution."""
    situation = situation_of(reader, row)
    found = {
        call.n: child
        for call in situation.story.calls.values()
        if call.kind == "child"
        and (child := reader.find(ids.derived(row.id, call.n))) is not None
    }
    return Dossier(
        situation=situation,
        history=history_in(reader, row),
        outputs=tuple(reader.outputs(row.key)),
        parent_id=None if row.parent is None else reader.get(row.parent).id,
        children=found,
    )


def below(reader: LogReader, dossier: Dossier) -> Iterator[Dossier]:
    """Yield the child workflows of one, those that went on in their place, and theirs."""
    for first in dossier.children.values():
        for row in successors(reader, first.id):
            child = dossier_of(reader, row)
            yield child
            yield from below(reader, child)
