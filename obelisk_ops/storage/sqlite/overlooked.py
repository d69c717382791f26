"""
Find the commit that a killed writer left out of the index, and make SQLite find it too.

    python overlooked.py DATABASE SUSPECT

If it comes too late, because Litestream has written since, it leaves the file SUSPECT:
what was shipped is then not surely what the database holds. See recovery.py. An empty name
is none: nothing is left.

A program of its own, run by its path: it closes the -shm file, and that drops every
POSIX lock that a process holds on it, those of its SQLite connections included. It
imports nothing of this package, so that it starts in a moment.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

import apsw

BUSY_STATUS = 75
INDEX_BYTES = 96
"""Two copies of the header of the index, 48 bytes each."""

_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_BUSY_MS = 30_000
_PAGE_OF_LITESTREAM = Path(__file__).with_suffix(".sql")


def next_frame_offset(index: bytes, log_header: bytes) -> int:
    """Return where in the write-ahead log the first frame begins that is not in the index."""
    [frames] = struct.unpack_from("=I", index, 16)
    [page_bytes] = struct.unpack_from(">I", log_header, 8)
    return int(_WAL_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + page_bytes))


def is_too_late(index: bytes, last_frame: bytes, page_of_litestream: int | None) -> bool:
    """
    Tell whether the last commit that is in the index is Litestream's, and not an owner's.

    Litestream writes when it has done a checkpoint. If the owner was killed in the middle
    of a commit, that checkpoint has shipped the commit, and then it or this write has put
    an end to it.
    """
    if page_of_litestream is None:
        return False  # it has never read this database
    [frames] = struct.unpack_from("=I", index, 16)
    return not frames or last_frame[:4] == struct.pack(">I", page_of_litestream)


def is_of_this_log(log_header: bytes, frame_header: bytes) -> bool:
    """Tell whether a frame was written since the log was last begun anew, by its salts."""
    return len(frame_header) == _FRAME_HEADER_BYTES and frame_header[8:16] == log_header[16:24]


def main(database: str, suspect: str) -> int:
    """Declare the index invalid if frames are not in it; return the exit status."""
    connection = apsw.Connection(database, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(_BUSY_MS)
    # With the write lock nobody is in the middle of a commit, so a frame that is not in the
    # index belongs to nobody; and Litestream is not between taking this lock and needing
    # the index, where it would wait for itself until it gives up.
    try:
        connection.execute("BEGIN IMMEDIATE")
    except apsw.BusyError:
        return BUSY_STATUS
    [page] = connection.execute(_PAGE_OF_LITESTREAM.read_text()).fetchone() or [None]
    index = os.open(f"{database}-shm", os.O_RDWR)
    log = os.open(f"{database}-wal", os.O_RDONLY)
    known = os.pread(index, INDEX_BYTES, 0)
    log_header = os.pread(log, _WAL_HEADER_BYTES, 0)
    has_log = len(log_header) == _WAL_HEADER_BYTES
    offset = next_frame_offset(known, log_header) if has_log else 0
    last = os.pread(log, _FRAME_HEADER_BYTES, _before(offset, log_header)) if offset else b""
    if suspect and is_too_late(known, last, page):
        # Before the index: once that is declared invalid, nobody can tell any more.
        leave_note(Path(suspect), log_header[16:24])
    if has_log and is_of_this_log(log_header, os.pread(log, _FRAME_HEADER_BYTES, offset)):
        os.pwrite(index, bytes(INDEX_BYTES), 0)
        rebuild(connection)
    # Nothing is closed in order: closing the connection could tidy the log away.
    os._exit(0)


def rebuild(connection: apsw.Connection) -> None:
    """Let SQLite make the index anew, now; if somebody is in its way, the next one does."""
    with suppress(apsw.Error):
        connection.execute("COMMIT")
        connection.execute(_PAGE_OF_LITESTREAM.read_text()).fetchone()


def leave_note(suspect: Path, salts: bytes) -> None:
    """Say, for good, that what was shipped is in doubt since the log with these salts began."""
    note = os.open(suspect, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(note, b"since " + salts.hex().encode())
    os.fsync(note)
    os.close(note)


def _before(offset: int, log_header: bytes) -> int:
    [page_bytes] = struct.unpack_from(">I", log_header, 8)
    return max(offset - _FRAME_HEADER_BYTES - int(page_bytes), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
