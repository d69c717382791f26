"""
Find the commit that a killed writer left out of the index, and make SQLite find it too.

    python overlooked.py DATABASE

A program of its own, run by its path: it closes the -shm file, and that drops every
POSIX lock that a process holds on it, those of its SQLite connections included. It
imports nothing of this package, so that it starts in a moment. Why: see recovery.py.
"""

from __future__ import annotations

import os
import struct
import sys

import apsw

BUSY_STATUS = 75
INDEX_BYTES = 96
"""Two copies of the header of the index, 48 bytes each."""

_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_BUSY_MS = 30_000


def next_frame_offset(index: bytes, log_header: bytes) -> int:
    """Return where in the write-ahead log the first frame begins that is not in the index."""
    [frames] = struct.unpack_from("=I", index, 16)
    [page_bytes] = struct.unpack_from(">I", log_header, 8)
    return int(_WAL_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + page_bytes))


def is_of_this_log(log_header: bytes, frame_header: bytes) -> bool:
    """Tell whether a frame was written since the log was last begun anew, by its salts."""
    return len(frame_header) == _FRAME_HEADER_BYTES and frame_header[8:16] == log_header[16:24]


def main(database: str) -> int:
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
    index = os.open(f"{database}-shm", os.O_RDWR)
    log = os.open(f"{database}-wal", os.O_RDONLY)
    log_header = os.pread(log, _WAL_HEADER_BYTES, 0)
    if len(log_header) == _WAL_HEADER_BYTES:
        offset = next_frame_offset(os.pread(index, INDEX_BYTES, 0), log_header)
        if is_of_this_log(log_header, os.pread(log, _FRAME_HEADER_BYTES, offset)):
            os.pwrite(index, bytes(INDEX_BYTES), 0)
    # Nothing is closed in order: closing the connection could tidy the log away.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
