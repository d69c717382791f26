"""Opening a database file: the settings that durability rests on, and what is refused."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from obelisk_ops.errors import (
    ConfigError,
    CorruptDatabase,
    DatabaseNotFound,
    ForeignDatabase,
    ProgramMissing,
    StorageUnavailable,
)
from obelisk_ops.storage import sql
from obelisk_ops.storage.sqlite.errors import translate
from obelisk_ops.storage.targets import check_folder

PACKAGE = "obelisk_ops.storage.sqlite"
QUERIES = sql.load(PACKAGE, "queries.sql")
SCHEMA_VERSION = 1
APPLICATION_ID = 0x0BE115C0
PAGE_BYTES = 1024  # a step dirties one page, and Litestream ships whole pages
BUSY_MS = 5000  # Litestream holds the write lock for moments; it asks writers for this

# SQLite 3.7.0 to 3.51.2 can corrupt a database whose write-ahead log is reset by another
# process while it is written: exactly what Litestream beside a writer does.
# Source: https://sqlite.org/wal.html#walresetbug
_SAFE_SQLITE = (3, 51, 3)
_MADE_BY = (
    "it is made by who first serves it, or submits to it: "
    "obelisk-ops execution submit TARGET --db DB"
)


def open_owner(path: Path) -> apsw.Connection:
    """
    Open *path* for writing; create it with the schema when it does not exist.

    Raises:
        ProgramMissing: The SQLite in use has the WAL-reset bug.
        CorruptDatabase: SQLite's own check finds the file damaged.
        ForeignDatabase: It is another program's.
        ConfigError: It is one of a newer version.
        StorageUnavailable: It cannot be opened.
    """
    refuse_unsafe_sqlite(apsw.sqlite_lib_version())
    if not path.exists():
        check_folder(path)
    try:
        _make_private(path)
        with closed_if_refused(apsw.Connection(str(path))) as connection:
            connection.set_busy_timeout(BUSY_MS)
            _prepare(connection, path)
    except apsw.Error as error:
        raise translate(error, path) from error
    return connection


def open_shared(path: Path, *, readonly: bool) -> apsw.Connection:
    """
    Open an existing workflow database beside its owner.

    Raises:
        DatabaseNotFound: There is no such file.
        CorruptDatabase: It is no SQLite database.
        ForeignDatabase: It is another program's.
        ConfigError: It is one of a newer version.
    """
    if not path.exists():
        raise DatabaseNotFound(
            f"there is no database at {path}",
            hint=_MADE_BY,
        )
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
    try:
        with closed_if_refused(apsw.Connection(str(path), flags=flags)) as connection:
            connection.set_busy_timeout(BUSY_MS)
            refuse_foreign(connection, path)
            if not readonly:
                connection.pragma("synchronous", "full")
    except apsw.Error as error:
        raise translate(error, path) from error
    return connection


def add_what_is_missing(connection: apsw.Connection) -> None:
    """Make tables and indexes that older versions did not; no write where all are there."""
    connection.execute(sql.read(PACKAGE, "additions.sql"))


@contextmanager
def closed_if_refused(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """Leave no open file, and no sidecars, of a database that is not to be used."""
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    """
    Refuse a database that holds no executions.

    Raises:
        DatabaseNotFound: It is empty.
        ForeignDatabase: It is another program's.
        ConfigError: It is one of a newer version.
        CorruptDatabase: It is damaged, or no database.
    """
    try:
        is_ours = _is_ours(connection, path)
    except apsw.Error as error:
        raise translate(error, path) from error
    if not is_ours:
        raise DatabaseNotFound(f"{path} is empty: no workflow ever ran in it", hint=_MADE_BY)


def refuse_unsafe_sqlite(version: str) -> None:
    """
    Refuse to write with a SQLite that can corrupt a replicated database.

    Raises:
        ProgramMissing: *version* is too old.
    """
    if tuple(int(part) for part in version.split(".")) < _SAFE_SQLITE:
        raise ProgramMissing(
            f"SQLite {version} can corrupt a database that Litestream replicates",
            hint="pip install --upgrade apsw, which carries its own SQLite",
        )


def _make_private(path: Path) -> None:
    # An empty file is a new database to SQLite, whose sidecars take over its mode.
    with suppress(OSError):  # it exists, or SQLite will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare(connection: apsw.Connection, path: Path) -> None:
    if connection.readonly("main"):
        raise StorageUnavailable(f"{path} cannot be written", hint="check its owner and mode")
    if path.stat().st_size == 0:
        connection.pragma("page_size", PAGE_BYTES)  # no effect once the file is in WAL mode
    else:
        _check(connection, path)
    is_ours = _is_ours(connection, path)  # before anything is changed in it
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    if is_ours:
        add_what_is_missing(connection)
    else:
        _create(connection)


def _check(connection: apsw.Connection, path: Path) -> None:
    # quick_check tells of damage in its rows; it raises only for the worst of it.
    rows = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    if rows != ["ok"]:
        raise CorruptDatabase(
            f"{path} is damaged: {'; '.join(rows)}"[:500],
            hint="keep the file; restore it from its backup: "
            "obelisk-ops restore NAME --to NEW-PATH",
        )


def _is_ours(connection: apsw.Connection, path: Path) -> bool:
    ours, tables = next(connection.execute(QUERIES["user_tables"]))
    if not tables:
        return False
    if not ours or connection.pragma("application_id") != APPLICATION_ID:
        raise ForeignDatabase(
            f"{path} is an SQLite database of another program",
            hint=f"see what is in it: obelisk-ops inspect {shlex.quote(str(path))}; workflows "
            "need a file of their own",
        )
    version = int(connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema version {version}; this program knows up to {SCHEMA_VERSION}",
            hint="pip install --upgrade obelisk-ops",
        )
    return True


def _create(connection: apsw.Connection) -> None:
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "database_id": secrets.token_hex(16),
        "epoch": "1",
    }
    with connection:
        connection.execute(sql.read(PACKAGE, "schema.sql"))
        add_what_is_missing(connection)
        connection.executemany(QUERIES["put_meta"], list(facts.items()))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", SCHEMA_VERSION)
