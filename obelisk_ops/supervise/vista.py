"""
What can be seen of a database at a glance: whether anything about it may have changed.

Four system calls. A thousand databases that nobody writes are glanced at twice a second;
everything else waits until something differs.
"""

from __future__ import annotations

import os
from pathlib import Path

from obelisk_ops.storage.sqlite import beside


class Vista:
    """One database, its write-ahead log, and the folder beside it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        folder = beside.folder(database)
        self._places = (str(database), f"{database}-wal", str(folder))
        self._engine_lock = str(folder / beside.ENGINE_LOCK)

    def look(self) -> tuple[object, ...]:
        """Return what differs once something has changed; equal means nothing has."""
        return (*map(_state, self._places), self._killed_owner())

    def _killed_owner(self) -> str | None:
        # That an owner was killed changes no file: its lock is free.
        has_owner = os.access(self._engine_lock, os.F_OK)
        return beside.killed_owner(self._database) if has_owner else None


def _state(place: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(place)  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
