"""
The folder beside a database: whose it is, which epoch, and what Litestream keeps.

    .<file>-obelisk/owner.json        written here when an epoch is opened or goes on
    .<file>-obelisk/opened.json       the same, as it was then, and synced to the disk
    .<file>-obelisk/restored.json     written by a restore
    .<file>-obelisk/suspect           what was shipped is in doubt, see doubts.py
    .<file>-obelisk/ledger.json       what the bucket was last seen to hold, see ledger.py
    .<file>-obelisk/supervisor.lock   held while a supervisor looks after the file
    .<file>-obelisk/meta-e0001/       Litestream's own files, one folder per epoch
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from obelisk_ops import process
from obelisk_ops.errors import DatabaseLocked, StorageUnavailable
from obelisk_ops.replica.layout import epoch_name
from obelisk_ops.storage.sqlite.beside import RESTORED, SUSPECT
from obelisk_ops.supervise.ownership import Owner, Restored

T = TypeVar("T")

TRUSTED = "trusted"
_META_MARK = "owner"

# Made here, once: these notes are read in threads; see replica/epochs.py.
_decode_owner = msgspec.json.Decoder(Owner).decode
_decode_restored = msgspec.json.Decoder(Restored).decode


class Sidecar:
    """The folder of one database."""

    def __init__(self, database: Path) -> None:
        self.folder = database.with_name(f".{database.name}-obelisk")

    def owner(self) -> Owner | None:
        """Return the note of the last opening; None if there is none that can be read."""
        note = self.folder / "owner.json"
        owner = read_note(note, _decode_owner)
        if owner is None and note.exists():
            # It was being stamped when the power was lost. A person removes it for good.
            return read_note(self.folder / "opened.json", _decode_owner)
        return owner

    def restored(self) -> Restored | None:
        """Return the note of the last restore; None if there is none that can be read."""
        return read_note(self.folder / RESTORED, _decode_restored)

    def write_owner(self, owner: Owner, *, is_synced: bool = True) -> None:
        """
        Write the note of an opening: the old one or the new one, never half of it.

        After a loss of power too, if it *is_synced*.

        Raises:
            StorageUnavailable: It could not be written.
        """
        private_folder(self.folder)
        note = msgspec.json.encode(owner)
        write_private(self.folder / "opened.json", note, is_synced=is_synced)
        # Where a loss of power has emptied this one, the other is read.
        write_private(self.folder / "owner.json", note, is_synced=False)

    def stamp(self, deadline_ms: int | None, boot_id: str) -> None:
        """
        Tell the engine in the note until when it may start activities; see Owner.

        Not synced to the disk: it is written again and again, and what a loss of power
        leaves is of another boot, or cannot be read. See ``owner``.

        Raises:
            StorageUnavailable: It could not be written.
        """
        owner = self.owner()
        if owner is not None:
            stamped = replace(owner, lease_deadline_ms=deadline_ms, boot_id=boot_id)
            note = msgspec.json.encode(stamped)
            write_private(self.folder / "owner.json", note, is_synced=False)

    def meta(self, epoch: int) -> Path:
        """Return where Litestream keeps its files of one epoch."""
        return self.folder / f"meta-{epoch_name(epoch)}"

    def clear_meta(self, epoch: int) -> None:
        """Remove Litestream's files of an epoch that is about to begin."""
        # They are of another history: Litestream would ship them as if they were of this one.
        shutil.rmtree(self.meta(epoch), ignore_errors=True)

    def mark_meta(self, owner: Owner) -> None:
        """Note in Litestream's files of an epoch for which opening they were made."""
        folder = self.meta(owner.epoch)
        private_folder(folder)
        # Without it they are made again: not worth waiting for the disk.
        write_private(folder / _META_MARK, owner.owner.encode(), is_synced=False)

    def keep_own_meta(self, owner: Owner | None) -> None:
        """Remove Litestream's files of an epoch if they were not made for this opening."""
        if owner is None:
            return
        folder = self.meta(owner.epoch)
        try:
            mark = (folder / _META_MARK).read_bytes()
        except OSError:
            mark = b""
        if mark != owner.owner.encode():
            # Started without them, Litestream takes its position from the bucket.
            self.clear_meta(owner.epoch)
            self.mark_meta(owner)

    def suspect(self) -> bytes | None:
        """
        Return the note that what was shipped is in doubt; None if there is none.

        It says since which write-ahead log ("since", its salts in hexadecimal), or up to
        which transaction it is not ("trusted", in decimal).
        """
        try:
            return (self.folder / SUSPECT).read_bytes()
        except OSError:
            return None

    def write_suspect(self, trusted_txid: int) -> None:
        """
        Note that what was shipped behind *trusted_txid* is in doubt.

        Raises:
            StorageUnavailable: It could not be written.
        """
        if self.suspect() is None:
            write_private(self.folder / SUSPECT, f"{TRUSTED} {trusted_txid}".encode())

    def clear_suspect(self) -> None:
        """Remove that note: there is an epoch now that begins behind it."""
        (self.folder / SUSPECT).unlink(missing_ok=True)

    def lock(self) -> Lock:
        """
        Take the right to look after this database.

        Raises:
            DatabaseLocked: Another supervisor has it.
            StorageUnavailable: The folder cannot be written.
        """
        return Lock(self.folder / "supervisor.lock", f"the database {self.folder.name[1:-8]}")

    def remove_blank(self, lock: Lock) -> None:
        """Remove the folder, while *lock* keeps others out, if it holds nothing else."""
        with suppress(OSError):
            if os.listdir(self.folder) == [lock.path.name]:  # noqa: PTH208 - no Path is needed
                lock.path.unlink()
                self.folder.rmdir()


class Lock:
    """
    A file lock that the system releases when this process ends, however it ends.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._take(what)
        while not self.is_current():  # who had it has removed the file before it was locked
            os.close(self._fd)
            self._take(what)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _take(self, what: str) -> None:
        try:
            private_folder(self.path.parent)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _storage(self.path, error) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise DatabaseLocked(
                f"another supervisor (pid {holder}) looks after {what}",
                hint=f"stop it: {process.way_to_stop(holder)}; the lock is {self.path}",
            ) from None

    def is_current(self) -> bool:
        """Tell whether the file that is locked is still the one at its path."""
        try:
            return os.fstat(self._fd).st_ino == self.path.stat().st_ino
        except OSError:
            return False

    def release(self) -> None:
        """Give the right back; the file stays."""
        os.close(self._fd)


def private_folder(folder: Path) -> None:
    """
    Make a folder that only its owner can enter.

    Raises:
        StorageUnavailable: It could not be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise _storage(folder, error) from None


def write_private(path: Path, content: bytes, *, is_synced: bool = True) -> None:
    """
    Replace a file by one that only its owner can read.

    After a crash it is the old or the new; after a loss of power too, if it *is_synced*.

    Raises:
        StorageUnavailable: It could not be written.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(path)
        if is_synced:
            _sync_folder(path.parent)
    except OSError as error:
        raise _storage(path, error) from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_note(path: Path, decode: Callable[[bytes], T]) -> T | None:
    """Return what a note says; None if there is none that can be read."""
    # A note that cannot be read proves nothing; the file then gets an epoch of its own.
    try:
        return decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _storage(path: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"{path} cannot be written: {error.strerror}", hint="check the disk and its permissions"
    )
