"""Becoming the owner of a file: its lock, what a killed owner left behind, and its store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.storage.held import Held
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit


def own(path: Path, opening: Callable[[Path], ArchiveStore]) -> Held:
    """See ``storage.own``."""
    lock = beside.Lock(path)
    try:
        if lock.follows_killed:
            find_overlooked_commit(path)
            lock.settle()
    except BaseException:
        lock.abandon()
        raise
    try:
        store = opening(path)
    except BaseException:
        lock.release()
        raise
    return Held(store=store, last_owner_closed=lock.last_owner_closed, release=lock.release)
