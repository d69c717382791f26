"""LogStore on SQLite: the owner's connection, and the one that only reads and asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import apsw
import msgspec

from obelisk_ops.core.events import Event
from obelisk_ops.core.letters import is_wanted
from obelisk_ops.core.ports import Write
from obelisk_ops.errors import OpsError
from obelisk_ops.storage.reading import OwnerReader, TableReader
from obelisk_ops.storage.sqlite import beside
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
from obelisk_ops.storage.writing import one_by_one, steps

_json = msgspec.json.Encoder().encode
# Soon: a log that is written over again is synced in two thirds of the time of one that grows,
# for which the file system has to write its own journal, too.
_AUTOCHECKPOINT_PAGES = 1000


class SqliteReader(TableReader):
    """See LogReader. One connection, for one thread at a time."""

    _is_lent = False

    def __init__(self, path: Path, connection: apsw.Connection | None = None) -> None:
        self.path = path
        self.label = str(path)
        self._connection = connection or open_shared(path, readonly=True)
        if connection is not None:
            self._is_lent = True
            refuse_foreign(connection, path)
        # SQLite's lower() knows no letters but A to Z.
        self._connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)

    def changes(self) -> int:
        """See LogReader.changes."""
        return int(self._connection.pragma("data_version"))

    def close(self) -> None:
        """See LogReader.close."""
        self._connection.close()

    def _events(self, name: str, values: Sequence[Any]) -> list[Event]:
        try:
            return list(starmap(Event, self._connection.execute(QUERIES[name], values)))
        except apsw.Error as error:
            raise self._in_words(error) from error

    def _rows(self, name: str, values: Sequence[Any] = ()) -> list[Any]:
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


class SqliteStore(SqliteReader, OwnerReader):
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
        try:
            self._execute("BEGIN IMMEDIATE")
            refused = one_by_one(writes, self._try)
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
        for name, rows in steps(writes):
            if name == "create_state":
                self._states.insert(rows)
            else:
                self._execute(QUERIES[name], (_json(rows).decode(),))

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, self.path) from error


def _casefold(*texts: Any) -> Any:  # noqa: ANN401 - as SQLite calls it, with one or NULL
    [text] = texts
    return text and text.casefold()
