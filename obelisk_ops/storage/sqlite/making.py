"""Making a database by who does not own it: whoever submits, before any worker ran."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import apsw

from obelisk_ops.errors import DatabaseLocked
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.connection import BUSY_MS, QUERIES, open_owner
from obelisk_ops.storage.sqlite.errors import translate
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit

_TRIES = 20
_PAUSE_S = 0.1
_pause = threading.Event()


def make_if_missing(path: Path) -> None:
    """
    Make a database, unless it is there; many may do so at the same time.

    One of them owns the file while it is made, as a worker would. A file that a killed
    one has left without its tables is made whole.

    What is there and no database of ours stays as it is: opening it says what it is.

    Raises:
        StorageUnavailable: It cannot be made.
    """
    for left in reversed(range(_TRIES)):
        if not is_missing(path):
            return
        try:
            _make(path)
        except DatabaseLocked:  # by who makes it
            if not left:
                raise
            _pause.wait(_PAUSE_S)


def is_missing(path: Path) -> bool:
    """
    Tell whether nothing is there, or only a file that was never filled.

    Raises:
        CorruptDatabase: It is no database.
        StorageUnavailable: It cannot be opened.
    """
    if not path.exists():
        return True
    try:
        # To write too: who only reads leaves sidecars behind.
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as opened:
            opened.set_busy_timeout(BUSY_MS)
            [(_, tables)] = opened.execute(QUERIES["user_tables"])
    except apsw.Error as error:
        raise translate(error, path) from error
    return bool(tables == 0)


def _make(path: Path) -> None:
    lock = beside.Lock(path)
    try:
        find_overlooked_commit(path)
        open_owner(path).close()
    except BaseException:
        lock.abandon()
        raise
    lock.release()
