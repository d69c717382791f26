"""
Opening a database to read it, as if it were hostile, without a trace.

A plain read-only connection still writes: it makes or rebuilds the ``-shm``
file of a WAL database. So there are three ways in:

- what somebody has open is read like any reader does, through its ``-shm``;
- a database at rest is opened as immutable: no lock, no sidecar;
- what a dead process left, with a ``-wal``, is read with an index of that file
  that lives in memory only.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import apsw

from obelisk_ops.errors import (
    CorruptDatabase,
    DatabaseNotFound,
    LimitExceeded,
    OpsError,
    StorageUnavailable,
    VerificationFailed,
)
from obelisk_ops.storage.sqlite.errors import translate

_NAME_IT = "name an existing file, or a backup: 'obelisk-ops replica list' shows what there is"
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_WAL_FORMAT = 2

#: Every connection to a WAL database holds a shared lock on this byte of its -shm file.
_SHM_LOCK_BYTE = 128
_ON_LINUX = sys.platform == "linux"
_FLOCK = struct.Struct("hhqqi" if _ON_LINUX else "qqihh")
_KIND_PLACE = 0 if _ON_LINUX else 3

_INSTRUCTIONS_BETWEEN_LOOKS_AT_THE_CLOCK = 20_000
_BUSY_TIMEOUT_MS = 2_000

_SWITCHES = {
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_VIEW: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION: 0,
    # Closing must not move the -wal into the file, nor delete it.
    apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE: 1,
}
_LIMITS = {
    apsw.SQLITE_LIMIT_ATTACHED: 0,
    apsw.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 100,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
}
_PRAGMAS = {
    "query_only": 1, "cell_size_check": 1, "mmap_size": 0,
    # in memory, or sorting a lot of rows would look for a place on a disk
    "temp_store": 2,
}  # fmt: skip


class View(StrEnum):
    """How a database is read."""

    IMMUTABLE = "immutable"
    SHARED = "shared"
    PRIVATE = "private"


def choose_view(*, is_held: bool, has_log: bool, is_wal_format: bool) -> View:
    """
    Return how to read a database.

    Args:
        is_held: Somebody has it open.
        has_log: There is a ``-wal`` file.
        is_wal_format: Its header says that it is used with one.
    """
    if is_held or not (is_wal_format or has_log):
        # With a rollback journal a reader makes no files, and its lock protects what it reads.
        return View.SHARED
    return View.PRIVATE if has_log else View.IMMUTABLE


@contextmanager
def open_read_only(
    path: Path, *, limit_s: float, longest: int | None = None
) -> Iterator[apsw.Connection]:
    """
    Open a database for reading.

    Args:
        path: The file.
        limit_s: Statements fail when this time is over, whatever they do.
        longest: Of how many bytes a value may be, stored or computed; for processes that
            read beside other work, and not apart.

    Raises:
        DatabaseNotFound: There is no such file.
        CorruptDatabase: It is damaged, or no database.
        LimitExceeded: The time was over, or it holds too much.
        StorageUnavailable: It cannot be read now.
    """
    ends_at = time.monotonic() + limit_s
    with translated(path, limit_s):
        connection = _connect(path, find_view(path))
        try:
            deadline(connection, ends_at)
            if longest is not None:
                connection.limit(apsw.SQLITE_LIMIT_LENGTH, longest)
            yield connection
        finally:
            connection.close()


def harden(connection: apsw.Connection) -> None:
    """Let a connection read only, trust nothing that its database says, and be modest."""
    for switch, setting in _SWITCHES.items():
        connection.config(switch, setting)
    for limit, most in _LIMITS.items():
        connection.limit(limit, most)
    for name, value in _PRAGMAS.items():
        connection.pragma(name, value)


def deadline(connection: apsw.Connection, ends_at: float) -> None:
    """Interrupt statements that run behind a moment of ``time.monotonic``."""
    connection.set_progress_handler(
        lambda: time.monotonic() > ends_at, _INSTRUCTIONS_BETWEEN_LOOKS_AT_THE_CLOCK
    )


@contextmanager
def translated(name: Path | str, limit_s: float) -> Iterator[None]:
    """Turn what SQLite says into our words."""
    try:
        yield
    except (MemoryError, apsw.NoMemError):
        raise too_much_memory(name) from None
    except apsw.Error as error:
        raise _translate(error, name, limit_s) from error


def too_much_memory(name: Path | str) -> LimitExceeded:
    """Return what is said of a database that holds more than a reader may keep in memory."""
    return LimitExceeded(
        f"{name} holds more than fits into the memory that a reader may use",
        hint="it is large, or made to be: commands that read allow more with --memory",
    )


def too_much_time(name: Path | str, limit_s: float) -> LimitExceeded:
    """Return what is said of a database that takes longer than *limit_s*."""
    return LimitExceeded(
        f"{name} could not be read within {limit_s:g} s",
        hint="it is large, or made to be slow: commands that read take longer with --within",
    )


def find_view(path: Path) -> View:
    """
    Return how a database is to be read now.

    Raises:
        DatabaseNotFound: There is no such file.
        CorruptDatabase: It is no database.
        StorageUnavailable: It cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DatabaseNotFound(
                f"there is no database at {path}: it is not a file", hint=_NAME_IT
            )
        # Closing a file gives up all locks that this process has on it, so a database
        # that is open in this very process must not be looked at in this way.
        is_held = _is_open_here(status) or _is_open_elsewhere(
            path.with_name(path.name + "-shm")
        )
        is_wal = False if is_held else _is_wal_format(path)
    except FileNotFoundError:
        raise DatabaseNotFound(f"there is no database at {path}", hint=_NAME_IT) from None
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be read: {error.strerror}") from None
    has_log = path.with_name(path.name + "-wal").exists()
    return choose_view(is_held=is_held, has_log=has_log, is_wal_format=is_wal)


def _connect(path: Path, view: View) -> apsw.Connection:
    query = "mode=ro&immutable=1" if view is View.IMMUTABLE else "mode=ro"
    connection = apsw.Connection(
        f"file:{quote(str(path.absolute()))}?{query}",
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        vfs="unix-none" if view is View.PRIVATE else None,
    )
    try:
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        if view is View.PRIVATE:
            connection.pragma("locking_mode", "exclusive")
        harden(connection)
    except apsw.Error:
        connection.close()
        raise
    return connection


def _translate(error: apsw.Error, path: Path | str, limit_s: float) -> OpsError:
    match error:
        case apsw.InterruptError():
            return too_much_time(path, limit_s)
        case apsw.SQLError() | apsw.TooBigError():
            return VerificationFailed(f"{path} does not hold what its schema says: {error}")
        case apsw.ReadOnlyError():
            return StorageUnavailable(
                f"{path} has a journal of a transaction that was cut off",
                hint="copy it together with its -journal file, open the copy once with "
                "sqlite3, and inspect the copy",
            )
        case _:
            return translate(error, path)


def _is_wal_format(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        why = "it begins with other bytes" if header else "it is empty"
        raise CorruptDatabase(
            f"{path} is no SQLite database: {why}",
            hint="if it is the right file, restore it from its backup: "
            "obelisk-ops restore NAME --to NEW-PATH",
        )
    return header[19] == _WAL_FORMAT


def _is_open_here(status: os.stat_result) -> bool:
    for entry in Path("/dev/fd").iterdir():
        try:
            other = os.fstat(int(entry.name))
        except OSError:
            continue
        if (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino):
            return True
    return False


def _is_open_elsewhere(shm: Path) -> bool:
    try:
        handle = os.open(shm, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, _flock(fcntl.F_WRLCK))
    finally:
        os.close(handle)
    return bool(_FLOCK.unpack(answer)[_KIND_PLACE] != fcntl.F_UNLCK)


def _flock(kind: int) -> bytes:
    place = (os.SEEK_SET, _SHM_LOCK_BYTE, 1, 0)
    return _FLOCK.pack(kind, *place) if _ON_LINUX else _FLOCK.pack(*place[1:], kind, place[0])
