"""LogStore on SQLite: the owner's connection, and the one that only reads and asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec.structs import astuple

from obelisk_ops.core.events import Event
from obelisk_ops.core.letters import is_wanted
from obelisk_ops.core.ports import (
    Beat,
    BeatRow,
    ExecutionFilter,
    InboxItem,
    Letter,
    Output,
    StateRow,
    TimerRow,
    Write,
)
from obelisk_ops.core.rows import CronRow, RefusalRow, StartRow
from obelisk_ops.errors import ExecutionNotFound, OpsError
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.archive import PRUNING, Archive, state_row
from obelisk_ops.storage.sqlite.connection import (
    QUERIES,
    add_what_is_missing,
    open_owner,
    open_shared,
    refuse_foreign,
)
from obelisk_ops.storage.sqlite.errors import GUILTY, translate
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit
from obelisk_ops.storage.sqlite.rows import Rows, repeated

_json = msgspec.json.Encoder().encode
# Soon: a log that is written over again is synced in two thirds of the time of one that grows,
# for which the file system has to write its own journal, too.
_AUTOCHECKPOINT_PAGES = 1000


class SqliteReader(Archive):
    """See LogReader. One connection, for one thread at a time."""

    _is_lent = False

    def __init__(self, path: Path, connection: apsw.Connection | None = None) -> None:
        self.path = path
        self._connection = connection or open_shared(path, readonly=True)
        if connection is not None:
            self._is_lent = True
            refuse_foreign(connection, path)
        # SQLite's lower() knows no letters but A to Z.
        self._connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)

    def find(self, execution_id: str) -> StateRow | None:
        """See LogReader.find."""
        rows = self._rows("find_state", (execution_id,))
        return state_row(rows[0]) if rows else None

    def get(self, key: int) -> StateRow:
        """See LogReader.get."""
        rows = self._rows("get_state", (key,))
        if not rows:
            raise ExecutionNotFound(f"{self.path} has no execution with the key {key}")
        return state_row(rows[0])

    def executions(self, wanted: ExecutionFilter) -> list[StateRow]:
        """See LogReader.executions."""
        filters = {name: getattr(wanted, name) for name in wanted.__dataclass_fields__}
        return [state_row(row) for row in self._rows("list_states", filters)]

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
        return [_letter(row) for row in self._rows("letters", (limit,))]

    def letters_to(self, execution_id: str) -> list[Letter]:
        """See LogReader.letters_to."""
        calls = f"{execution_id}/", f"{execution_id}0"  # "0" comes after "/"
        return [_letter(row) for row in self._rows("letters_to", (execution_id, *calls))]

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
        return [_letter(row) for row in self._rows("find_letters", (target, wanted))]

    def find_signal_letter(self, target: str, signal_id: str) -> Letter | None:
        """See Arrivals.find_signal_letter."""
        rows = self._rows("find_signal_letter", (target, signal_id))
        return _letter(rows[0]) if rows else None

    def find_refusal(self, letter: int) -> RefusalRow | None:
        """See Arrivals.find_refusal."""
        rows = self._rows("find_refusal", (letter,)) if self._has("refusal") else []
        return rows[0] if rows else None

    def changes(self) -> int:
        """See LogReader.changes."""
        return int(self._connection.pragma("data_version"))

    def close(self) -> None:
        """See LogReader.close."""
        self._connection.close()

    def _has(self, table: str) -> bool:
        return bool(self._rows("has_table", (table,)))  # not every version knew each

    def _events(self, name: str, values: tuple[Any, ...]) -> list[Event]:
        try:
            return list(starmap(Event, self._connection.execute(QUERIES[name], values)))
        except apsw.Error as error:
            raise self._in_words(error) from error

    def _rows(self, name: str, values: Any = None) -> list[Any]:  # noqa: ANN401
        try:
            return self._connection.execute(QUERIES[name], values).fetchall()
        except apsw.Error as error:
            raise self._in_words(error) from error

    def _in_words(self, error: apsw.Error) -> Exception:
        # Whoever has lent a connection knows its limits, and says when one was exceeded.
        return error if self._is_lent else translate(error, self.path)


class SqliteMailbox(SqliteReader):
    """See Mailbox."""

    def __init__(self, path: Path) -> None:
        self._seen_killed: str | None = None
        self._is_whole = False
        self.last_letter = 0
        super().__init__(path, open_shared(path, readonly=False))

    def ask(self, kind: str, target: str, body: str, *, now_ms: int) -> bool:
        """See Mailbox.ask."""
        self._save_last_commit()
        try:
            # At once: a transaction that begins to write after it has read is refused,
            # without waiting, when the owner has committed in between.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if not self._is_whole:
                    add_what_is_missing(self._connection)
                    self._is_whole = True
                wanted = is_wanted(self, kind, target, body, now_ms)
                if wanted:
                    letter = (now_ms, kind, target, body)
                    self._connection.execute(QUERIES["post_letter"], letter)
                    self.last_letter = self._connection.last_insert_rowid()
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, self.path) from error
        return wanted

    def _save_last_commit(self) -> None:
        """See recovery.py: a letter must not overwrite the last commit of a killed owner."""
        killed = beside.killed_owner(self.path)
        if killed is not None and killed != self._seen_killed:
            find_overlooked_commit(self.path)
        self._seen_killed = killed


class SqliteStore(SqliteReader):
    """See LogStore."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, open_owner(path))
        self._execute = self._connection.cursor().execute  # one cursor: none is made anew
        append = QUERIES["append"]
        self._alone = {1: append, 2: repeated(append, 2)}  # by how many rows it inserts
        self._log = Rows(self._execute, QUERIES["append"])
        self._states = Rows(self._execute, QUERIES["create_state"])
        self.checkpoint_by_itself()

    def checkpoint_by_itself(self, *, wanted: bool = True) -> None:
        """Let SQLite copy its log into the file; not while Litestream reads that log."""
        self._connection.wal_autocheckpoint(_AUTOCHECKPOINT_PAGES if wanted else 0)
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not wanted))

    def commit(self, writes: Sequence[Write]) -> Mapping[int, OpsError]:
        """See LogStore.commit."""
        try:
            if self._connection.in_transaction:
                self._roll_back()  # what an earlier failure could not
            self._commit_all(writes)
        except GUILTY:
            self._roll_back()
            return self._commit_each(writes)
        except apsw.Error as error:
            self._roll_back()
            raise translate(error, self.path) from error
        return {}

    def unfinished(self) -> list[StateRow]:
        """See LogStore.unfinished."""
        return [state_row(row) for row in self._rows("unfinished")]

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

    def set_epoch(self, epoch: int) -> None:
        """See LogStore.set_epoch."""
        self._rows("put_meta", ("epoch", str(epoch)))

    def checkpoint(self) -> None:
        """See LogStore.checkpoint. PASSIVE: never waits for Litestream, nor makes it wait."""
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return  # Litestream is at it; the next round will do
        except apsw.Error as error:
            raise translate(error, self.path) from error

    def _commit_all(self, writes: Sequence[Write]) -> None:
        if len(writes) == 1:
            log = writes[0].log
            statement = self._alone.get(len(log))
            if statement is not None and writes[0].is_log_only:
                self._execute(statement, tuple(chain.from_iterable(log)))
                return
        self._execute("BEGIN IMMEDIATE")
        self._write(writes)
        self._execute("COMMIT")

    def _commit_each(self, writes: Sequence[Write]) -> dict[int, OpsError]:
        refused: dict[int, OpsError] = {}
        guilty: dict[int, OpsError] = {}
        try:
            self._execute("BEGIN IMMEDIATE")
            for position, write in enumerate(writes):
                error = next((guilty[e] for e in write.executions if e in guilty), None)
                error = error or self._try(write)
                if error is not None:
                    refused[position] = error
                    guilty.update(dict.fromkeys(write.executions, error))
            self._execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            raise translate(error, self.path) from error
        return refused

    def _try(self, write: Write) -> OpsError | None:
        # Any other error ends the whole transaction, and its savepoints with it.
        self._execute("SAVEPOINT one")
        refusal = None
        try:
            self._write([write])
        except GUILTY as error:
            self._execute("ROLLBACK TO one")
            refusal = translate(error, self.path)
        self._execute("RELEASE one")
        return refusal

    def _write(self, writes: Sequence[Write]) -> None:
        """Write the rows of all writes, one statement for each table that is touched."""
        self._log.insert(list(chain.from_iterable([write.log for write in writes])))
        others = [write for write in writes if not write.is_log_only]
        if others:
            self._write_others(_gathered(others))

    def _write_others(self, rows: Mapping[str, list[Any]]) -> None:
        self._states.insert([astuple(row) for row in rows["created"]])
        changed = {change.key: astuple(change) for change in rows["changed"]}
        self._many("change_states", list(changed.values()))
        self._many("add_inbox", rows["inbox"])
        self._many("arm_timers", rows["timers"])
        self._many("disarm_timers", rows["timers_done"])
        self._many("drop_letters", rows["letters_done"])
        self._many("put_refusals", rows["refusals"])
        self._many("forget_refusals", rows["refusals"])
        crons = {row.id: _columns(row) for row in rows["crons"]}
        self._many("put_crons", list(crons.values()))
        self._many("drop_crons", rows["crons_gone"])
        self._many("put_beats", rows["beats"])
        self._many("drop_beats", rows["beats_done"])
        self._many("add_outputs", rows["outputs"])
        self._many("put_starts", rows["starts"])
        self._many("drop_starts", rows["starts_gone"])
        for name in PRUNING:
            self._many(name, rows["pruned"])

    def _many(self, name: str, rows: list[Any]) -> None:
        if rows:
            self._execute(QUERIES[name], (_json(rows).decode(),))

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, self.path) from error


def _gathered(writes: Sequence[Write]) -> dict[str, list[Any]]:
    """Return the rows of all writes by field; not in Python, for most of them have none."""
    fields = zip(Write.__struct_fields__, zip(*map(astuple, writes), strict=True), strict=True)
    return {name: list(chain.from_iterable(rows)) for name, rows in list(fields)[1:]}


def _casefold(*texts: Any) -> Any:  # noqa: ANN401 - as SQLite calls it, with one or NULL
    [text] = texts
    return text and text.casefold()


def _letter(row: Sequence[Any]) -> Letter:
    number, at, kind, target, body = row
    return Letter(id=number, at=at, kind=kind, target=target, body=body)


def _cron_row(row: Sequence[Any]) -> CronRow:
    facts = dict(zip(CronRow.__slots__, row, strict=True))
    running = msgspec.json.decode(facts["running"], type=tuple[str, ...])
    return CronRow(**facts | {"paused": bool(facts["paused"]), "running": running})


def _columns(row: CronRow) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.__slots__)
