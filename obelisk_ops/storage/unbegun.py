"""
Reading a database together with what waits in its mailbox.

Whoever has submitted an execution wants to see it, also while no owner runs that would
begin it: its letter is shown as a pending execution whose log is its first event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from obelisk_ops.core import bundle, events
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import (
    Beat,
    ExecutionFilter,
    InboxItem,
    Letter,
    LogReader,
    Output,
    State,
    StateRow,
)
from obelisk_ops.core.requests import MAKING, Fork
from obelisk_ops.core.rows import ALL, CronRow, RefusalRow
from obelisk_ops.errors import InvalidInput


class WholeReader:
    """See LogReader. Executions that are not begun have negative keys."""

    def __init__(self, inner: LogReader) -> None:
        """Read through *inner*, which is closed with this."""
        self._inner = inner
        self._seen: dict[int, Letter] = {}  # one that is answered meanwhile is still known

    def find(self, execution_id: str) -> StateRow | None:
        """See LogReader.find."""
        row = self._inner.find(execution_id)
        if row is not None:
            return row
        letters = self._inner.letters_to(execution_id)
        mine = (one for one in letters if one.target == execution_id)
        waiting = next((made for one in mine if (made := self._row(one)) is not None), None)
        # A letter that was answered between the two looks has become an execution.
        return waiting or self._inner.find(execution_id)

    def get(self, key: int) -> StateRow:
        """See LogReader.get."""
        row = self._row(self._seen[key]) if key < 0 else self._inner.get(key)
        assert row is not None
        return row

    def executions(self, wanted: ExecutionFilter) -> list[StateRow]:
        """See LogReader.executions. What is not begun comes last."""
        unbegun = [row for letter in self._making() if (row := self._row(letter)) is not None]
        names = [row.id for row in unbegun]
        if wanted.after in names and self._inner.find(wanted.after) is None:
            rows, unbegun = [], unbegun[names.index(wanted.after) + 1 :]
        else:
            rows = self._inner.executions(wanted)
        rows += [
            row for row in unbegun
            if matches(row, wanted) and self._inner.find(row.id) is None
        ]  # fmt: skip
        return rows[: wanted.limit]

    def log(self, key: int) -> list[Event]:
        """See LogReader.log."""
        if key >= 0:
            return self._inner.log(key)
        letter = self._seen[key]
        created = self._created(letter)
        assert created is not None
        return [Event(0, letter.at, "created", events.encode(created))]

    def first(self, key: int) -> Event:
        """See LogReader.first."""
        return self._inner.first(key) if key >= 0 else self.log(key)[0]

    def last(self, key: int) -> Event:
        """See LogReader.last."""
        return self._inner.last(key) if key >= 0 else self.log(key)[-1]

    def events_of(self, key: int, kinds: Collection[str]) -> list[Event]:
        """See LogReader.events_of."""
        if key >= 0:
            return self._inner.events_of(key, kinds)
        return [event for event in self.log(key) if event.kind in kinds]

    def inbox(self, key: int) -> dict[int, InboxItem]:
        """See LogReader.inbox."""
        return self._inner.inbox(key)

    def beats(self, key: int) -> dict[int, Beat]:
        """See LogReader.beats."""
        return self._inner.beats(key)

    def outputs(self, key: int) -> list[Output]:
        """See LogReader.outputs."""
        return self._inner.outputs(key)

    def meta(self) -> Mapping[str, str]:
        """See LogReader.meta."""
        return self._inner.meta()

    def letters(self, limit: int) -> list[Letter]:
        """See LogReader.letters."""
        return self._inner.letters(limit)

    def letters_to(self, execution_id: str) -> list[Letter]:
        """See LogReader.letters_to."""
        return self._inner.letters_to(execution_id)

    def find_signal(self, key: int, signal_id: str) -> InboxItem | None:
        """See Arrivals.find_signal."""
        return self._inner.find_signal(key, signal_id)

    def find_answer(self, key: int, n: int) -> InboxItem | None:
        """See Arrivals.find_answer."""
        return self._inner.find_answer(key, n)

    def find_letters(self, target: str, kinds: Collection[str]) -> list[Letter]:
        """See Arrivals.find_letters."""
        return self._inner.find_letters(target, kinds)

    def find_signal_letter(self, target: str, signal_id: str) -> Letter | None:
        """See Arrivals.find_signal_letter."""
        return self._inner.find_signal_letter(target, signal_id)

    def find_refusal(self, letter: int) -> RefusalRow | None:
        """See Arrivals.find_refusal."""
        return self._inner.find_refusal(letter)

    def crons(self) -> list[CronRow]:
        """See LogReader.crons."""
        return self._inner.crons()

    def cron(self, schedule_id: str) -> CronRow | None:
        """See LogReader.cron."""
        return self._inner.cron(schedule_id)

    def newest_link(self, execution_id: str) -> StateRow | None:
        """See LogReader.newest_link."""
        return self._inner.newest_link(execution_id)

    def changes(self) -> int:
        """See LogReader.changes."""
        return self._inner.changes()

    def close(self) -> None:
        """See LogReader.close."""
        self._inner.close()

    def _making(self) -> list[Letter]:
        return [letter for letter in self._inner.letters(ALL) if letter.kind in MAKING]

    def _row(self, letter: Letter) -> StateRow | None:
        created = self._created(letter)
        if created is None:
            return None
        self._seen[-letter.id] = letter
        return StateRow(
            key=-letter.id, id=letter.target, function=created.fn, state=State.PENDING,
            created_at=letter.at,
        )  # fmt: skip

    def _created(self, letter: Letter) -> events.Created | None:
        try:
            if letter.kind == "create":
                return msgspec.json.decode(letter.body, type=events.Created)
            if letter.kind == "fork":
                return self._forked(msgspec.json.decode(letter.body, type=Fork))
            if letter.kind == "import":
                return bundle.from_json(letter.body)[0].created
        except (msgspec.DecodeError, InvalidInput):
            pass  # of a later version, it may be
        return None

    def _forked(self, fork: Fork) -> events.Created | None:
        origin = self._inner.find(fork.id)
        if origin is None:
            return None
        [first] = self._inner.events_of(origin.key, {"created"})
        created: events.Created = events.decode(first)
        created.forked_from = events.Origin(id=fork.id, version=fork.version)
        return created


def matches(row: StateRow, wanted: ExecutionFilter) -> bool:
    """Tell whether an execution is one of those to be listed, wherever it stands."""
    return (
        wanted.state in (None, row.state)
        and wanted.function in (None, row.function)
        and (wanted.since is None or row.created_at >= wanted.since)
        and (wanted.error is None or _holds(row.error, wanted.error))
    )


def _holds(error: str | None, wanted: str) -> bool:
    return error is not None and wanted.casefold() in error.casefold()
