"""Questions about what is over, for retention: which of it may go, and how much that is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from obelisk_ops.core.ports import Result, State, StateRow
from obelisk_ops.errors import CorruptDatabase

E = TypeVar("E", bound=StrEnum)


class Archive:
    """See core.archive.Archive."""

    def _rows(self, name: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement by its name; see the ``queries.sql`` of each backend."""
        raise NotImplementedError

    def _state(self, row: Sequence[Any]) -> StateRow:
        return state_row(row)

    def finished_roots(self, after: int, upto: int) -> list[StateRow]:
        """See Archive.finished_roots."""
        return [self._state(row) for row in self._rows("finished_roots", (after, upto))]

    def below(self, execution_id: str, before: int, limit: int) -> list[StateRow]:
        """See Archive.below."""
        values = (*_below(execution_id), before, limit)
        return [self._state(row) for row in self._rows("below", values)]

    def unfinished_below(self, execution_id: str) -> list[StateRow]:
        """See Archive.unfinished_below."""
        found = self._rows("unfinished_below", _below(execution_id))
        return [self._state(row) for row in found]

    def newest_link(self, execution_id: str) -> StateRow | None:
        """See LogReader.newest_link."""
        start = f"{execution_id}~"
        rows = self._rows("newest_link", (start, f"{start}:", len(start) + 1))
        return self._state(rows[0]) if rows else None

    def newest_roots(self, keep: int) -> dict[str, int]:
        """See Archive.newest_roots."""
        return dict(self._rows("newest_roots", (keep,)))

    def weight(self, keys: Sequence[int]) -> tuple[int, int]:
        """See Archive.weight."""
        wanted = msgspec.json.encode(list(keys)).decode()
        events, size = self._rows("weight", (wanted,))[0]
        return int(events), int(size)

    def last_key(self) -> int:
        """See Archive.last_key."""
        return int(self._rows("last_key")[0][0])

    def leftovers(self) -> list[int]:
        """See Archive.leftovers."""
        return [key for (key,) in self._rows("list_leftovers")]


def _below(execution_id: str) -> tuple[str, str]:
    return f"{execution_id}/", f"{execution_id}0"  # "0" comes after "/"


def _known(kind: type[E], text: str, execution_id: str) -> E:
    try:
        return kind(text)
    except ValueError:
        what = f"{kind.__name__.lower()} {text!r}"
        raise CorruptDatabase(
            f"execution {execution_id!r} has the {what}, which is not known",
            hint="a later version of this program may have written it",
        ) from None


def state_row(row: Sequence[Any]) -> StateRow:
    """Make a row of the table of executions."""
    key, name, parent, parent_n, function, state, result, created, finished, error = row
    return StateRow(
        key=key,
        id=name,
        parent=parent,
        parent_n=parent_n,
        function=function,
        state=_known(State, state, name),
        result=_known(Result, result, name) if result else None,
        created_at=created,
        finished_at=finished,
        error=error,
    )
