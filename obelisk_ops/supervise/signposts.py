"""
Shows engines the way to this supervisor, in the folders that it watches.

For databases that come and go between two looks: see durable/signposts.py. It is a courtesy:
where nothing can be written, or anybody may write, as in /tmp, there is none. A database is
found by the next look then, if it is still there.
"""

from __future__ import annotations

import glob
import hashlib
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from obelisk_ops.durable.signposts import FOLDER, Signpost
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.supervise.sidecar import private_folder, write_private


class Signposts:
    """All that one supervisor has put up."""

    def __init__(self, state_dir: Path, socket: Path) -> None:
        """Put up none yet; another supervisor of this state folder would replace them."""
        self._name = hashlib.sha256(str(state_dir).encode()).hexdigest()[:16] + ".json"
        self._content = msgspec.json.encode(Signpost(socket=str(socket)))
        self._files: set[Path] = set()

    def put_up(self, patterns: Iterable[str]) -> None:
        """Have one for each path or glob, where there is none of this supervisor."""
        for folder in {_existing(watched_folder(pattern)) for pattern in patterns}:
            file = folder / FOLDER / self._name
            if _is_open_to_all(folder) or (file in self._files and file.exists()):
                continue
            with suppress(StorageUnavailable):
                private_folder(file.parent)
                write_private(file, self._content, is_synced=False)
                self._files.add(file)

    def take_down(self) -> None:
        """Remove them."""
        for file in self._files:
            with suppress(OSError):  # it is gone, or another supervisor has its own there
                file.unlink()
                file.parent.rmdir()
        self._files.clear()


def watched_folder(pattern: str) -> Path:
    """Return the folder that all files of an absolute path or glob lie in or below."""
    folder = Path(pattern).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _existing(folder: Path) -> Path:
    # A folder may be made together with its first database: there is something above it.
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _is_open_to_all(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True  # it is gone, or not for us
