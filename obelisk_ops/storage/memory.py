"""LogStore in plain dictionaries: what the contract means, without a disk. For tests."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from msgspec import structs

from obelisk_ops.core.events import Event
from obelisk_ops.core.letters import is_wanted
from obelisk_ops.core.ports import (
    Beat,
    BeatRow,
    ExecutionFilter,
    InboxItem,
    InboxRow,
    Letter,
    Output,
    OutputRow,
    State,
    StateChange,
    StateRow,
    TimerRow,
    Write,
)
from obelisk_ops.core.rows import CronRow, RefusalRow, StartRow
from obelisk_ops.errors import ExecutionExists, ExecutionNotFound, OpsError, VersionConflict
from obelisk_ops.storage.unbegun import matches
from obelisk_ops.storage.writing import id_of_signal, one_by_one

_ALL = 1 << 62
_EVENT_BYTES = 20
_REFUSED_MS = 60_000

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Tables:
    log: dict[tuple[int, int], Event] = field(default_factory=dict)
    states: dict[int, StateRow] = field(default_factory=dict)
    inbox: dict[tuple[int, int], InboxRow] = field(default_factory=dict)
    timers: dict[tuple[int, int], int] = field(default_factory=dict)
    letters: dict[int, Letter] = field(default_factory=dict)
    crons: dict[str, CronRow] = field(default_factory=dict)
    beats: dict[tuple[int, int], BeatRow] = field(default_factory=dict)
    outputs: dict[tuple[int, int, int, int], OutputRow] = field(default_factory=dict)
    leftover: dict[int, None] = field(default_factory=dict)
    starts: dict[tuple[str, int], StartRow] = field(default_factory=dict)
    refusals: dict[int, RefusalRow] = field(default_factory=dict)

    def apply(self, write: Write) -> None:
        for execution, version, at, kind, body in write.log:
            _insert(self.log, (execution, version), Event(version, at, kind, body))
        self._apply_states(write)
        for received in write.inbox:
            _insert(self.inbox, received[:2], received)
        for execution, n, due in write.timers:
            _insert(self.timers, (execution, n), due)
        for timer in write.timers_done:
            self.timers.pop(timer, None)
        for letter in write.letters_done:
            self.letters.pop(letter, None)
        self.crons.update({row.id: row for row in write.crons})
        for schedule in write.crons_gone:
            self.crons.pop(schedule, None)
        self._apply_asides(write)
        for key, version, seq in write.pruned:
            self._prune(key, version, seq)

    def _apply_asides(self, write: Write) -> None:
        self.beats.update({row[:2]: row for row in write.beats})
        for call in write.beats_done:
            self.beats.pop(call, None)
        for row in write.outputs:
            _insert(self.outputs, row[:4], row)
        for queue, at, elapsed, many in write.starts:
            before = self.starts[queue, at][3] if (queue, at) in self.starts else 0
            self.starts[queue, at] = (queue, at, elapsed, before + many)
        for place in write.starts_gone:
            self.starts.pop(place, None)
        for refusal in write.refusals:
            self.refusals[refusal[0]] = refusal
        oldest = max((at for _, at, _ in write.refusals), default=0) - _REFUSED_MS
        self.refusals = {n: row for n, row in self.refusals.items() if row[1] >= oldest}

    def _prune(self, key: int, version: int, seq: int) -> None:
        self.states.pop(key, None)
        self.timers = {at: due for at, due in self.timers.items() if at[0] != key}
        self.beats = {at: row for at, row in self.beats.items() if at[0] != key}
        self.outputs = {at: row for at, row in self.outputs.items() if at[0] != key}
        self.log = {at: e for at, e in self.log.items() if at[0] != key or at[1] < version}
        self.inbox = {at: r for at, r in self.inbox.items() if at[0] != key or at[1] < seq}
        self.leftover.pop(key, None)
        if version:
            self.leftover[key] = None

    def _apply_states(self, write: Write) -> None:
        for row in write.created:
            _insert(self.states, row.key, row)
            if sum(row.id == other.id for other in self.states.values()) > 1:
                raise ExecutionExists(f"an execution with the id {row.id!r} exists")
        for change in write.changed:
            if change.key in self.states:
                self.states[change.key] = _changed(self.states[change.key], change)


class Archive:
    """What retention asks."""

    _tables: _Tables

    def finished_roots(self, after: int, upto: int) -> list[StateRow]:
        """See Archive.finished_roots."""
        return [
            row for key, row in sorted(self._tables.states.items())
            if after < key <= upto and row.parent is None and row.state is State.FINISHED
        ]  # fmt: skip

    def below(self, execution_id: str, before: int, limit: int) -> list[StateRow]:
        """See Archive.below."""
        found = [
            row for key, row in sorted(self._tables.states.items(), reverse=True)
            if key < before and row.parent is not None and row.id.startswith(f"{execution_id}/")
        ]  # fmt: skip
        return found[:limit]

    def unfinished_below(self, execution_id: str) -> list[StateRow]:
        """See Archive.unfinished_below."""
        found = self.below(execution_id, _ALL, _ALL)
        return [row for row in found if row.state is not State.FINISHED][::-1]

    def newest_link(self, execution_id: str) -> StateRow | None:
        """See LogReader.newest_link."""
        start = f"{execution_id}~"
        links = [
            row for row in self._tables.states.values()
            if row.id.startswith(start) and "/" not in row.id[len(start):]
        ]  # fmt: skip
        return max(links, key=lambda row: row.key, default=None)

    def newest_roots(self, keep: int) -> dict[str, int]:
        """See Archive.newest_roots."""
        keys: dict[str, list[int]] = {}
        for row in self.finished_roots(0, _ALL):
            keys.setdefault(row.function, []).append(row.key)
        return {function: found[-keep:][0] for function, found in keys.items()}

    def weight(self, keys: Sequence[int]) -> tuple[int, int]:
        """See Archive.weight."""
        tables, wanted = self._tables, set(keys)
        log = [event.body for (key, _), event in tables.log.items() if key in wanted]
        inbox = [row[5] for (key, _), row in tables.inbox.items() if key in wanted]
        output = [row[6] for row in tables.outputs.values() if row[0] in wanted]
        rows = [*log, *inbox, *output]
        return len(log), sum(len(body.encode()) + _EVENT_BYTES for body in rows)

    def leftovers(self) -> list[int]:
        """See Archive.leftovers."""
        return sorted(self._tables.leftover)


class MemoryStore(Archive):
    """See LogStore and Mailbox: everybody has this one object."""

    def __init__(self) -> None:
        self._tables = _Tables()
        self._meta = {"schema_version": "1", "database_id": "0" * 32, "epoch": "1"}
        self._asked = 0
        self.last_letter = 0

    def commit(self, writes: Sequence[Write]) -> Mapping[int, OpsError]:
        """See LogStore.commit."""
        return one_by_one(writes, self._try)

    def ask(self, kind: str, target: str, body: str, *, now_ms: int) -> bool:
        """See Mailbox.ask."""
        if not is_wanted(self, kind, target, body, now_ms):
            return False
        self._asked += 1
        letter = max([self.last_letter, *self._tables.letters, *self._tables.refusals]) + 1
        self.last_letter = letter
        self._tables.letters[letter] = Letter(
            id=letter, at=now_ms, kind=kind, target=target, body=body
        )
        return True

    def find(self, execution_id: str) -> StateRow | None:
        """See LogReader.find."""
        rows = self._tables.states.values()
        return next((row for row in rows if row.id == execution_id), None)

    def get(self, key: int) -> StateRow:
        """See LogReader.get."""
        if key not in self._tables.states:
            raise ExecutionNotFound(f"there is no execution with the key {key}")
        return self._tables.states[key]

    def executions(self, wanted: ExecutionFilter) -> list[StateRow]:
        """See LogReader.executions."""
        after = self.find(wanted.after) if wanted.after is not None else None
        rows = [row for row in self._in_order() if after is None or row.key > after.key]
        return [row for row in rows if matches(row, wanted)][: wanted.limit]

    def unfinished(self) -> list[StateRow]:
        """See LogStore.unfinished."""
        return [row for row in self._in_order() if row.state is not State.FINISHED]

    def log(self, key: int) -> list[Event]:
        """See LogReader.log."""
        found = (e for (execution, _), e in self._tables.log.items() if execution == key)
        return sorted(found, key=lambda event: event.version)

    def first(self, key: int) -> Event:
        """See LogReader.first."""
        return self.log(key)[0]

    def last(self, key: int) -> Event:
        """See LogReader.last."""
        return self.log(key)[-1]

    def events_of(self, key: int, kinds: Collection[str]) -> list[Event]:
        """See LogReader.events_of."""
        return [event for event in self.log(key) if event.kind in kinds]

    def inbox(self, key: int) -> dict[int, InboxItem]:
        """See LogReader.inbox."""
        rows = self._tables.inbox.values()
        return {row[1]: InboxItem(*row[2:]) for row in rows if row[0] == key}

    def beats(self, key: int) -> dict[int, Beat]:
        """See LogReader.beats."""
        return {row[1]: Beat(*row[2:]) for row in self.last_beats() if row[0] == key}

    def last_beats(self) -> list[BeatRow]:
        """See LogStore.last_beats."""
        return [row for _, row in sorted(self._tables.beats.items())]

    def starts(self) -> list[StartRow]:
        """See LogStore.starts."""
        return [row for _, row in sorted(self._tables.starts.items())]

    def outputs(self, key: int) -> list[Output]:
        """See LogReader.outputs."""
        rows = [row for place, row in sorted(self._tables.outputs.items()) if place[0] == key]
        return [Output(row[1], row[2], *row[4:]) for row in rows]

    def timers(self, key: int) -> dict[int, int]:
        """See LogStore.timers."""
        return {
            n: due for (execution, n), due in self._tables.timers.items() if execution == key
        }

    def armed(self) -> list[TimerRow]:
        """See LogStore.armed."""
        rows = [(key, n, due) for (key, n), due in self._tables.timers.items()]
        return sorted(rows, key=lambda row: row[2])

    def ends(self, key: int) -> tuple[int, int]:
        """See LogStore.ends."""
        return len(self.log(key)), max(self.inbox(key), default=0)

    def letters(self, limit: int) -> list[Letter]:
        """See LogReader.letters."""
        return [letter for _, letter in sorted(self._tables.letters.items())][:limit]

    def letters_to(self, execution_id: str) -> list[Letter]:
        """See LogReader.letters_to."""
        own, calls = execution_id, f"{execution_id}/"
        return [
            letter for letter in self.letters(1_000_000)
            if letter.target == own or letter.target.startswith(calls)
        ]  # fmt: skip

    def find_signal(self, key: int, signal_id: str) -> InboxItem | None:
        """See Arrivals.find_signal."""
        mine = (item for item in self.inbox(key).values() if item.kind == "signal")
        return next((item for item in mine if id_of_signal(item.body) == signal_id), None)

    def find_answer(self, key: int, n: int) -> InboxItem | None:
        """See Arrivals.find_answer."""
        mine = self.inbox(key).values()
        return next((item for item in mine if (item.kind, item.ref) == ("stub", n)), None)

    def find_letters(self, target: str, kinds: Collection[str]) -> list[Letter]:
        """See Arrivals.find_letters."""
        mine = [one for one in self.letters(_ALL) if one.target == target]
        return [letter for letter in mine if letter.kind in kinds]

    def find_signal_letter(self, target: str, signal_id: str) -> Letter | None:
        """See Arrivals.find_signal_letter."""
        mine = self.find_letters(target, {"signal"})
        return next((letter for letter in mine if id_of_signal(letter.body) == signal_id), None)

    def find_refusal(self, letter: int) -> RefusalRow | None:
        """See Arrivals.find_refusal."""
        return self._tables.refusals.get(letter)

    def crons(self) -> list[CronRow]:
        """See LogReader.crons."""
        return [row for _, row in sorted(self._tables.crons.items())]

    def cron(self, schedule_id: str) -> CronRow | None:
        """See LogReader.cron."""
        return self._tables.crons.get(schedule_id)

    def meta(self) -> Mapping[str, str]:
        """See LogReader.meta."""
        return dict(self._meta)

    def set_epoch(self, epoch: int) -> None:
        """See LogStore.set_epoch."""
        self._meta["epoch"] = str(epoch)

    def last_key(self) -> int:
        """See LogStore.last_key."""
        return max([*self._tables.states, *(key for key, _ in self._tables.log)], default=0)

    letters_at_once = 500

    def take_letters(self) -> list[Letter]:
        """See LogStore.take_letters."""
        return self.letters(self.letters_at_once)

    def note_waiting(self, execution_id: str) -> None:
        """See Sender.note_waiting."""

    def draw_keys(self) -> Iterable[int]:
        """See LogStore.draw_keys."""
        return count(self.last_key() + 1)

    def changes(self) -> int:
        """See LogReader.changes."""
        return self._asked

    def checkpoint_by_itself(self, *, wanted: bool = True) -> None:
        """See LogStore.checkpoint_by_itself. There is nothing to tidy."""

    def checkpoint(self) -> None:
        """See LogStore.checkpoint. There is nothing to tidy."""

    def close(self) -> None:
        """See LogReader.close."""

    def _try(self, write: Write) -> OpsError | None:
        tables = copy.copy(self._tables)
        for name in _Tables.__slots__:
            setattr(tables, name, dict(getattr(tables, name)))
        try:
            tables.apply(write)
        except OpsError as error:
            return error
        self._tables = tables
        return None

    def _in_order(self) -> Iterable[StateRow]:
        return (row for _, row in sorted(self._tables.states.items()))


def _insert(table: dict[K, V], key: K, value: V) -> None:
    if key in table:
        raise VersionConflict(f"{key} is taken")
    table[key] = value


def _changed(row: StateRow, change: StateChange) -> StateRow:
    return structs.replace(
        row, state=change.state, result=change.result,
        finished_at=change.finished_at, error=change.error,
    )  # fmt: skip
