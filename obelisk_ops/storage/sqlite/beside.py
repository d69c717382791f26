"""
What lies beside a database file, in ``.<file>-obelisk/`` (0700).

The engine's lock and socket, and what the supervisor tells the engine
(``owner.json``), what a restore tells the supervisor (``restored.json``), and whether
what was shipped is in doubt (``suspect``, see recovery.py).
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import IO

from obelisk_ops.errors import DatabaseLocked, StorageUnavailable
from obelisk_ops.storage.targets import check_folder

ENGINE_LOCK = "engine.lock"
RESTORED = "restored.json"
SUSPECT = "suspect"
_MARK_BYTES = 20
_UNSETTLED = "unsettled"
_TRIES = 30  # a command that answers letters owns a database for a moment
_PAUSE_S = 0.01
_pause = threading.Event()


def folder(database: Path) -> Path:
    """Return the folder beside *database*; it may not exist."""
    return database.with_name(f".{database.name}-obelisk")


def make_folder(database: Path) -> Path:
    """
    Return the folder beside *database*, made if need be.

    Raises:
        StorageUnavailable: It cannot be made.
    """
    beside = folder(database)
    try:
        beside.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        refusal = error
    else:
        return beside
    check_folder(database)  # here, where nothing is being handled: it is told alone
    raise StorageUnavailable(
        f"{beside} cannot be made: {refusal.strerror}",
        hint="the folder of a database must exist and be writable",
    ) from refusal


def killed_owner(database: Path) -> str | None:
    """
    Return the mark of an owner process that ended without closing the database.

    None once the next owner, or somebody before it, has looked for its last commit.
    """
    try:
        with (folder(database) / ENGINE_LOCK).open("rb", buffering=0) as file:
            is_alive = _is_held(file)
            mark = file.read(_MARK_BYTES).decode().strip()
    except OSError:
        return None  # there was no owner
    return None if is_alive and not mark.endswith(_UNSETTLED) else mark or None


def is_owned(database: Path) -> bool:
    """Tell whether a process owns *database* now."""
    try:
        with (folder(database) / ENGINE_LOCK).open() as file:
            return _is_held(file)
    except OSError:
        return False  # nobody has ever owned it


def forget_killed(database: Path, mark: str) -> None:
    """Note that what the killed owner with this mark left behind was looked after."""
    with (
        suppress(OSError),  # there is a new owner, who looks after it too
        (folder(database) / ENGINE_LOCK).open("r+") as file,
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if file.read().strip() == mark:
            file.truncate(0)


class Lock:
    """
    The right to be the one owner process of a database.

    Held until ``release`` or the end of the process, whichever way it ends: the
    next owner knows that the last one is dead and resumes at once.

    Attributes:
        last_owner_closed: Whether the last owner gave the lock up by itself.
        follows_killed: Whether the last owner may have been killed in the middle of a commit.
            Not so where nobody has owned a copy since it was restored.
    """

    def __init__(self, database: Path, name: str = ENGINE_LOCK) -> None:
        """
        Take the lock.

        Raises:
            DatabaseLocked: Another process has it.
            StorageUnavailable: It cannot be opened.
        """
        path = make_folder(database) / name
        is_known = path.exists()
        try:
            self._file: IO[str] = open(path, "a+", opener=_private)  # noqa: SIM115 - held
        except OSError as error:
            raise StorageUnavailable(
                f"{path} cannot be opened: {error.strerror}", hint="check its owner and mode"
            ) from error
        mark = self._take(database)
        self.last_owner_closed = is_known and not mark
        is_new_copy = not is_known and path.with_name(RESTORED).exists()
        self.follows_killed = not self.last_owner_closed and not is_new_copy
        # Until its last commit was looked for, all shall know that the last owner was killed.
        self._mark(_UNSETTLED if mark else "")

    def settle(self) -> None:
        """Note that what the last owner left behind was looked after."""
        self._mark("")

    def release(self) -> None:
        """Give the lock up, and say that the database was closed. Twice is allowed."""
        if not self._file.closed:
            os.ftruncate(self._file.fileno(), 0)
            self._file.close()

    def abandon(self) -> None:
        """Give the lock up as if the process had been killed."""
        self._file.close()

    def _mark(self, addition: str) -> None:
        # Written over, not emptied first: at no moment does a held lock look like a closed one.
        mark = f"{os.getpid()} {addition}"
        os.pwrite(self._file.fileno(), mark.ljust(_MARK_BYTES).encode(), 0)

    def _take(self, database: Path) -> str:
        for _ in range(_TRIES):
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return os.pread(self._file.fileno(), _MARK_BYTES, 0).decode().strip()
            _pause.wait(_PAUSE_S)  # somebody may just be looking whether it is held
        holder, *_ = os.pread(self._file.fileno(), _MARK_BYTES, 0).decode().split() or [
            "unknown"
        ]
        self._file.close()
        raise DatabaseLocked(
            f"{database} belongs to another process (pid {holder})",
            hint="stop it, or send requests to it: obelisk-ops execution submit TARGET --db DB",
        )


def _is_held(file: IO[str] | FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _private(path: str, flags: int) -> int:
    # Without O_APPEND, which would send every write to the end.
    return os.open(path, (flags & ~os.O_APPEND) | os.O_CLOEXEC, 0o600)
