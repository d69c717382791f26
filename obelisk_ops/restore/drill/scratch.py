"""
Where copies lie while they are looked at: a private folder that one drill has at a time.

Who holds its lock may remove everything else in it: whatever is there was left by a drill
that was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obelisk_ops.errors import DatabaseLocked, StorageUnavailable

_LOCK = "lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """
    Make *folder*, have it for oneself, and remove what others have left in it.

    Raises:
        DatabaseLocked: Another drill is under way.
        StorageUnavailable: It cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refusal(folder, error) from None
    try:
        _take(handle, folder)
        for left in folder.iterdir():
            if left.name != _LOCK:
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(handle)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """
    Give a new private folder in *folder* for as long as the block runs.

    Raises:
        StorageUnavailable: It cannot be made.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix="copy-", dir=folder))
    except OSError as error:
        raise _refusal(folder, error) from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
        raise DatabaseLocked(
            f"another drill (pid {holder}) is under way in {folder}",
            hint="one at a time: wait for it, or see 'obelisk-ops status'",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _refusal(folder: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"{folder} cannot be written: {error.strerror}",
        hint="check the space, the owner and the mode of state_dir",
    )
