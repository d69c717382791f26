"""Looks at the disk and the write-ahead log around a database, now and then."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from obelisk_ops.core.clock import Clock
from obelisk_ops.litestream.local import pages_in_wal
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.notices import WAL_PAGES_MAX, Surroundings, Wal
from obelisk_ops.supervise.tracker import Tracker

_LOOK_MS = 2_000
_LOCKS = Path("/proc/locks")
_READ_LOCK = re.compile(
    r"\d+: POSIX +ADVISORY +READ +(?P<pid>\d+) [^ ]+:(?P<inode>\d+) (?P<first>\d+) .*"
)
#: In the index of a write-ahead log (-shm), one byte for each mark that a reader may hold.
_READER_BYTES = range(123, 128)


class Surveyor:
    """
    Looks around one database.

    Attributes:
        disk_free: Bytes that may still be written beside it; None if that is not known.
        wal: Its write-ahead log; None if there is none.
    """

    def __init__(self, database: Path, clock: Clock) -> None:
        self.disk_free: int | None = None
        self.wal: Wal | None = None
        self._database, self._clock = database, clock
        self._looked_ms: int | None = None

    def look(self, *, litestream: int | None) -> None:
        """
        Look, if the last time is long enough ago.

        Args:
            litestream: The process that is expected to read the log.
        """
        now_ms = self._clock.elapsed_ms()
        if self._looked_ms is not None and now_ms - self._looked_ms < _LOOK_MS:
            return
        self._looked_ms = now_ms
        self.disk_free = _free(self._database.parent)
        self.wal = self._measure(litestream)

    def _measure(self, litestream: int | None) -> Wal | None:
        found = pages_in_wal(self._database)
        if found is None:
            return None
        pages, size = found
        # Who reads is only asked when there is something to say: it reads all locks there are.
        is_large = pages >= WAL_PAGES_MAX
        readers = readers_of(self._database, but=litestream) if is_large else ()
        return Wal(pages=pages, size=size, readers=readers)


def surroundings(surveyor: Surveyor, tracker: Tracker | None, fleet: Fleet) -> Surroundings:
    """Return what was seen around a database, on its disk and in the bucket."""
    short = fleet.files.shortage
    seen = Surroundings(
        disk_free=surveyor.disk_free,
        wal=surveyor.wal,
        answer_ms=fleet.bucket.answer_ms,
        clock="" if fleet.bucket.answered_ms is None else fleet.retention.words,
        files=f"{short.words}: {short.way_out}" if short else "",
    )
    if tracker is None:
        return seen
    now_ms = fleet.clock.now_ms()
    return replace(
        seen,
        has_snapshot=tracker.has_snapshot,
        lost=tracker.ledger.words_of_losses(now_ms),
        intruded=tracker.ledger.words_of_intrusions(now_ms),
        undeleted=tracker.undeleted,
        waiting=tracker.waiting_bytes,
        rate=tracker.arriving,
    )


def readers_of(database: Path, *, but: int | None) -> tuple[str, ...]:
    """Return who holds a read mark of a write-ahead log, where the system tells (Linux)."""
    try:
        inode = database.with_name(f"{database.name}-shm").stat().st_ino
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return ()
    pids = {pid for line in lines if (pid := _reader(line, inode)) and pid != but}
    return tuple(_named(pid) for pid in sorted(pids))


def _reader(line: str, inode: int) -> int | None:
    """Return the process of a line such as ``1: POSIX ADVISORY READ 98 fe:00:43 124 124``."""
    found = _READ_LOCK.fullmatch(line)
    if found is None or int(found["inode"]) != inode:
        return None
    return int(found["pid"]) if int(found["first"]) in _READER_BYTES else None


def _named(pid: int) -> str:
    with suppress(psutil.Error):
        return f"pid {pid} ({psutil.Process(pid).name()})"
    return f"pid {pid}"


def _free(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
