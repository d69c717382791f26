"""
Putting another file in the place of a database, and keeping what was there.

Whoever looks at the path finds the old database or the new one, at every instant, also after
a kill or a loss of power: the old one gets a second name first, and then a rename puts the
new one in its place. In between nobody else has the database open, and its write-ahead log
is empty: what it held is in the old file, and nothing of it can get into the new one.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from obelisk_ops.core.clock import iso
from obelisk_ops.errors import DatabaseLocked, DatabaseNotFound, UsageError
from obelisk_ops.restore.target import (
    SIDECARS,
    alone_in,
    give,
    refusal,
    sweep,
    sync,
    write_note,
)
from obelisk_ops.storage import sql
from obelisk_ops.storage.sqlite.errors import translate

_SQL = sql.load("obelisk_ops.restore", "queries.sql")
_PUNCTUATION = re.compile(r"[-:.]")


def kept_path(database: Path, now_ms: int) -> Path:
    """Return under which name what is there now is kept; hidden, so that no glob finds it."""
    return database.with_name(f".{database.name}.replaced-{_PUNCTUATION.sub('', iso(now_ms))}")


def note_of(kept: Path) -> Path:
    """Return where it stands what a kept file is."""
    return kept.with_name(f"{kept.name}.json")


def check_database(database: Path) -> None:
    """
    Refuse what cannot be exchanged.

    Raises:
        DatabaseNotFound: There is nothing.
        UsageError: It is no file of its own.
    """
    if database.is_symlink():
        raise UsageError(
            f"{database} is a link", hint="name the file itself in the configuration"
        )
    if not database.is_file():
        raise DatabaseNotFound(
            f"there is no database at {database}",
            hint=f"restore it: obelisk-ops restore NAME --to {shlex.quote(str(database))}",
        )


@contextmanager
def alone_with(database: Path) -> Iterator[None]:
    """
    Keep all programs out of a database, whose log is empty meanwhile.

    Raises:
        DatabaseLocked: Another program has it open.
        OpsError: It cannot be opened or written.
    """
    connection = None
    try:
        connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.pragma("locking_mode", "exclusive")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.execute(_SQL["exclude"])
    except apsw.Error as error:
        if connection is not None:
            connection.close()
        if isinstance(error, (apsw.BusyError, apsw.LockedError)):
            raise DatabaseLocked(
                f"{database} is open in another program",
                hint=f"end it; see who it is with: fuser -v {database}",
            ) from None
        raise translate(error, database) from None
    try:
        yield
    finally:
        connection.close()


def exchange(new: Path, database: Path, *, kept: Path, what: bytes, origin: bytes) -> None:
    """
    Put *new* in the place of *database*, which is kept; the caller is alone with it.

    Args:
        new: A finished file on the same file system; it is gone afterwards.
        database: What it takes the place of; its owner and mode go over to it.
        kept: The second name.
        what: What the kept file is, written beside it.
        origin: What *new* descends from, for the supervisor.

    Raises:
        StorageUnavailable: The disk refuses; all is as it was.
    """
    try:
        _make_alike(new, database)
        sync(new)
        with alone_in(database.parent), _undone_on_failure(new, kept):
            _write_new(note_of(kept), what)
            give(note_of(kept), like=database)
            os.link(database, kept)
            sync(database.parent)
            write_note(database, origin)
            new.replace(database)
            sync(database.parent)
    except OSError as error:
        raise refusal(database, error) from None
    for suffix in SIDECARS:
        # All are empty by now; SQLite leaves them, because it sees that its file has moved.
        with suppress(OSError):
            database.with_name(database.name + suffix).unlink(missing_ok=True)


def forget_unfinished(database: Path) -> None:
    """Remove what exchanges left that were killed: private folders, and names of no copy."""
    sweep(database)
    for kept in database.parent.glob(f".{glob.escape(database.name)}.replaced-*"):
        with suppress(OSError):
            if not kept.name.endswith(".json") and kept.samefile(database):
                kept.unlink()
                note_of(kept).unlink(missing_ok=True)


def _make_alike(new: Path, database: Path) -> None:
    was, now = database.stat(), new.stat()
    if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        os.chown(new, was.st_uid, was.st_gid)
    new.chmod(was.st_mode & 0o777)


def _write_new(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:  # a disk that is nearly full takes a part of it
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _undone_on_failure(new: Path, kept: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if new.exists():  # else it is in its place: the old one is no more than what is kept
            kept.unlink(missing_ok=True)
            note_of(kept).unlink(missing_ok=True)
        raise
