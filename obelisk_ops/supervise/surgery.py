"""
Whether somebody has changed a database behind SQLite's back, while Litestream has it open.

Litestream sees only what goes through the write-ahead log. A copy of an older state that is
laid over the file, a log that is removed, a folder of its own that is exchanged: it goes on
from where it was, and what it ships then is not what the file holds.

While a process has a database open, three things hold: log and index stay the files they
are; the database file is written by checkpoints alone, and each counts in the index what it
is about to write and what it has written; Litestream's folder stays where it is, and holds the
newest file that it wrote. What breaks one of them was neither SQLite nor Litestream. It may be
harmless (``touch``); then an epoch was opened in vain.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from obelisk_ops.litestream.local import level0_file, level0_folder, newest_txid

#: Of the index: the salts of the log; frames that are in the file, frames that were to be.
_INDEX = struct.Struct("=32x8s56xI28xI")


class Found(StrEnum):
    """What was done to a database."""

    CHANGED = "it was changed by something else than SQLite"
    SET_BACK = "it was set back to an older state, and Litestream's own files with it"
    FORGOTTEN = "Litestream's own files are gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """
    What can be seen of a database that a process has open. None: there is no such file.

    Attributes:
        file: Size of the database file, and when it was written.
        log: Which file the write-ahead log is.
        index: Which file its index is.
        backfilled: Salts of the log, frames of it in the database file, frames that should be.
        meta: Which folder Litestream keeps its files in.
    """

    file: tuple[int, int] | None
    log: int | None
    index: int | None
    backfilled: tuple[bytes, int, int] | None
    meta: int | None


def compare(before: Trace, now: Trace) -> Found | None:
    """Return what must have been done between two looks; None if SQLite explains it."""
    was_replaced = any(
        old is not None and old != new
        for old, new in ((before.log, now.log), (before.index, now.index))
    )
    if was_replaced or (before.file != now.file and not _is_explained(before, now)):
        return Found.CHANGED
    if before.meta is None or before.meta == now.meta:
        return None
    return Found.FORGOTTEN if now.meta is None else Found.CHANGED


def _is_explained(before: Trace, now: Trace) -> bool:
    if before.backfilled is None or now.backfilled is None:
        return True
    _, done, wanted = now.backfilled
    # Between the two numbers lies a checkpoint that is under way, or was broken off.
    return before.backfilled != now.backfilled or done != wanted


class Surgery:
    """Looks again and again at one database, as long as one process has it open."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._pid = 0
        self._trace: Trace | None = None
        self._trusted = 0

    @property
    def trusted_txid(self) -> int:
        """The last transaction that was captured before, and that the file may descend from."""
        return self._trusted

    def look(self, meta: Path, *, pid: int, txid: int) -> Found | None:
        """
        Return what was done since the last look.

        Args:
            meta: Where Litestream keeps its files.
            pid: The process that has the database open.
            txid: The last transaction that is known to be captured.
        """
        now = trace_of(self._database, meta)
        before = self._trace if pid == self._pid else None
        if now is None:
            return None
        found = (compare(before, now) if before else None) or self._missed(meta, txid)
        if found is None:
            # What appeared since belongs to it; what is gone for a moment is not forgotten.
            self._trace, self._pid, self._trusted = now, pid, txid
        return found

    def _missed(self, meta: Path, txid: int) -> Found | None:
        # What it has captured lies in there, and of that never the newest is removed. It goes
        # by its memory: also if all files were exchanged together, it says that it is there.
        if not txid or level0_file(meta, txid).exists():
            return None
        newest = newest_txid(meta)
        if newest >= txid:
            return None
        self._trusted = min(self._trusted, newest) if self._trusted else newest
        return Found.SET_BACK if newest else Found.FORGOTTEN

    def forget(self) -> None:
        """Begin anew: no process has the database open."""
        self._trace = None


def trace_of(database: Path, meta: Path) -> Trace | None:
    """Return what can be seen of a database; None if a checkpoint came in between."""
    index = f"{database}-shm"
    before = _backfilled(index)
    trace = Trace(
        file=_written(str(database)),
        log=_inode(f"{database}-wal"),
        index=_inode(index),
        backfilled=before,
        meta=_inode(str(level0_folder(meta))),
    )
    return trace if replace(trace, backfilled=_backfilled(index)) == trace else None


def _backfilled(index: str) -> tuple[bytes, int, int] | None:
    try:
        with open(index, "rb", buffering=0) as file:  # noqa: PTH123 - it is looked at often
            salts, done, wanted = _INDEX.unpack(file.read(_INDEX.size))
    except (OSError, struct.error):
        return None
    return salts, done, wanted


def _written(place: str) -> tuple[int, int] | None:
    try:
        found = os.stat(place)  # noqa: PTH116 - the same
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _inode(place: str) -> int | None:
    try:
        return os.stat(place).st_ino  # noqa: PTH116 - the same
    except OSError:
        return None
