"""
Reading the tables of an execution log, whichever database holds them.

Here is which statement answers a question, and what its rows mean; a backend has the
statements, by the same names, and runs them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count, starmap
from typing import Any

import msgspec

from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import (
    Beat,
    BeatRow,
    ExecutionFilter,
    InboxItem,
    Letter,
    Output,
    StateRow,
    TimerRow,
)
from obelisk_ops.core.rows import CronRow, RefusalRow, StartRow
from obelisk_ops.errors import ExecutionNotFound
from obelisk_ops.storage.archive import Archive

_json = msgspec.json.Encoder().encode


class TableReader(Archive):
    """See LogReader."""

    label: str
    """How messages name the database; no secret is in it."""

    def find(self, execution_id: str) -> StateRow | None:
        """See LogReader.find."""
        rows = self._rows("find_state", (execution_id,))
        return self._state(rows[0]) if rows else None

    def get(self, key: int) -> StateRow:
        """See LogReader.get."""
        rows = self._rows("get_state", (key,))
        if not rows:
            raise ExecutionNotFound(f"{self.label} has no execution with the key {key}")
        return self._state(rows[0])

    def executions(self, wanted: ExecutionFilter) -> list[StateRow]:
        """See LogReader.executions."""
        error = wanted.error and wanted.error.casefold()
        filters = (
            wanted.state, wanted.function, wanted.since, error, wanted.after, wanted.limit,
        )  # fmt: skip
        return [self._state(row) for row in self._rows("list_states", filters)]

    def log(self, key: int) -> list[Event]:
        """See LogReader.log."""
        return self._events("read_log", (key,))

    def first(self, key: int) -> Event:
        """See LogReader.first."""
        return self._events("first_event", (key,))[0]

    def last(self, key: int) -> Event:
        """See LogReader.last."""
        return self._events("last_event", (key,))[0]

    def events_of(self, key: int, kinds: Collection[str]) -> list[Event]:
        """See LogReader.events_of."""
        wanted = _json(sorted(kinds)).decode()
        return self._events("read_kinds", (key, wanted))

    def inbox(self, key: int) -> dict[int, InboxItem]:
        """See LogReader.inbox."""
        return {seq: InboxItem(*row) for seq, *row in self._rows("read_inbox", (key,))}

    def crons(self) -> list[CronRow]:
        """See LogReader.crons."""
        rows = self._rows("list_crons") if self._has("cron") else []
        return [_cron_row(row) for row in rows]

    def cron(self, schedule_id: str) -> CronRow | None:
        """See LogReader.cron."""
        rows = self._rows("find_cron", (schedule_id,)) if self._has("cron") else []
        return _cron_row(rows[0]) if rows else None

    def beats(self, key: int) -> dict[int, Beat]:
        """See LogReader.beats."""
        rows = self._rows("read_beats", (key,)) if self._has("beat") else []
        return {n: Beat(*row) for n, *row in rows}

    def outputs(self, key: int) -> list[Output]:
        """See LogReader.outputs."""
        rows = self._rows("read_outputs", (key,)) if self._has("output") else []
        return [Output(*row) for row in rows]

    def meta(self) -> Mapping[str, str]:
        """See LogReader.meta."""
        return dict(self._rows("read_meta"))

    def letters(self, limit: int) -> list[Letter]:
        """See LogReader.letters."""
        return [as_letter(row) for row in self._rows("letters", (limit,))]

    def letters_to(self, execution_id: str) -> list[Letter]:
        """See LogReader.letters_to."""
        calls = f"{execution_id}/", f"{execution_id}0"  # "0" comes after "/"
        return [as_letter(row) for row in self._rows("letters_to", (execution_id, *calls))]

    def find_signal(self, key: int, signal_id: str) -> InboxItem | None:
        """See Arrivals.find_signal."""
        rows = self._rows("find_signal", (key, signal_id))
        return InboxItem(*rows[0]) if rows else None

    def find_answer(self, key: int, n: int) -> InboxItem | None:
        """See Arrivals.find_answer."""
        rows = self._rows("find_answer", (key, n))
        return InboxItem(*rows[0]) if rows else None

    def find_letters(self, target: str, kinds: Collection[str]) -> list[Letter]:
        """See Arrivals.find_letters."""
        wanted = _json(sorted(kinds)).decode()
        return [as_letter(row) for row in self._rows("find_letters", (target, wanted))]

    def find_signal_letter(self, target: str, signal_id: str) -> Letter | None:
        """See Arrivals.find_signal_letter."""
        rows = self._rows("find_signal_letter", (target, signal_id))
        return as_letter(rows[0]) if rows else None

    def find_refusal(self, letter: int) -> RefusalRow | None:
        """See Arrivals.find_refusal."""
        rows = self._rows("find_refusal", (letter,)) if self._has("refusal") else []
        return rows[0] if rows else None

    def note_waiting(self, execution_id: str) -> None:
        """See Sender.note_waiting. A file does not tell."""

    def _has(self, table: str) -> bool:
        """Tell whether the database has a table: not every version made each."""
        return bool(self._rows("has_table", (table,)))

    def _events(self, name: str, values: Sequence[Any]) -> list[Event]:
        return list(starmap(Event, self._rows(name, values)))


class OwnerReader(TableReader):
    """What the owner alone asks; see LogStore."""

    def unfinished(self) -> list[StateRow]:
        """See LogStore.unfinished."""
        return [self._state(row) for row in self._rows("unfinished")]

    def timers(self, key: int) -> dict[int, int]:
        """See LogStore.timers."""
        return dict(self._rows("read_timers", (key,)))

    def armed(self) -> list[TimerRow]:
        """See LogStore.armed."""
        return list(self._rows("armed_timers"))

    def last_beats(self) -> list[BeatRow]:
        """See LogStore.last_beats."""
        return list(self._rows("last_beats"))

    def starts(self) -> list[StartRow]:
        """See LogStore.starts."""
        return list(self._rows("list_starts"))

    def ends(self, key: int) -> tuple[int, int]:
        """See LogStore.ends."""
        events, seq = self._rows("ends", (key,))[0]
        return int(events), int(seq)

    letters_at_once = 500

    def take_letters(self) -> list[Letter]:
        """See LogStore.take_letters."""
        return self.letters(self.letters_at_once)

    def draw_keys(self) -> Iterable[int]:
        """See LogStore.draw_keys."""
        return count(self.last_key() + 1)

    def set_epoch(self, epoch: int) -> None:
        """See LogStore.set_epoch."""
        self._rows("put_meta", ("epoch", str(epoch)))


def as_letter(row: Sequence[Any]) -> Letter:
    """Return a letter from its row."""
    number, at, kind, target, body = row
    return Letter(id=number, at=at, kind=kind, target=target, body=body)


def _cron_row(row: Sequence[Any]) -> CronRow:
    facts = dict(zip(CronRow.__slots__, row, strict=True))
    running = msgspec.json.decode(facts["running"], type=tuple[str, ...])
    return CronRow(**facts | {"paused": bool(facts["paused"]), "running": running})
