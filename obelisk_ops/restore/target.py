"""
Where a restored file appears: only where nothing is, and only when it is complete.

The work is done in ``.NAME.restoring-…`` beside the target, a folder that its
process holds locked. Whoever restores next to it removes such folders of
processes that died, and goes on with what they had fetched. A hard link
publishes the file: unlike a rename it never replaces anything.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obelisk_ops.errors import StaleSidecar, StorageUnavailable, TargetExists
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.targets import check_folder

SIDECARS = ("-wal", "-shm", "-journal")
NOTE = beside.RESTORED
#: in such a folder: the objects that were fetched, good for whoever restores there next
FETCHED = "fetched"

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)


def check_target(target: Path) -> None:
    """
    Refuse a target at which a file cannot appear without harm.

    Raises:
        TargetExists: Something is there.
        StorageUnavailable: Its folder is missing, or may not be written.
        StaleSidecar: SQLite would read an old log into the restored file.
    """
    if os.path.lexists(target):
        raise TargetExists(
            f"{target} exists; a restore never overwrites anything",
            hint="choose another path with --to, or move the file away",
        )
    check_folder(target)
    check_sidecars(target)


def check_sidecars(target: Path) -> None:
    """
    Refuse a database file that has a log beside it.

    Raises:
        StaleSidecar: SQLite would read an old log into the restored file.
    """
    for suffix in SIDECARS:
        sidecar = target.with_name(target.name + suffix)
        if os.path.lexists(sidecar):
            raise StaleSidecar(
                f"{sidecar} exists; SQLite would mix it into the restored database",
                hint="it belongs to a database that was here: move it away, or choose another "
                "path with --to",
            )


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """
    Give a private folder beside *target* for the time of a restore; remove it afterwards.

    Raises:
        StorageUnavailable: It cannot be made.
    """
    try:
        with alone_in(target.parent):
            folder, lock = _make_locked(target)
            sweep(target, heir=folder)
    except OSError as error:
        raise refusal(target.parent, error) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def publish(finished: Path, target: Path, note: bytes) -> None:
    """
    Make *finished* appear at *target*, with a note in the folder beside it.

    Raises:
        TargetExists: Something appeared there meanwhile.
        StaleSidecar: A sidecar appeared there meanwhile.
        StorageUnavailable: The disk refuses.
    """
    try:
        finished.chmod(0o600)
        give(finished, like=target.parent)
        sync(finished)
        with alone_in(target.parent):
            check_target(target)
            with _undone_on_failure(finished, target):
                write_note(target, note)
                os.link(finished, target)
                sync(target.parent)
    except FileExistsError:
        check_target(target)
        raise
    except OSError as error:
        raise refusal(target, error) from None


def _make_locked(target: Path) -> tuple[Path, int]:
    folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        return folder, _lock(folder)
    except OSError:
        folder.rmdir()
        raise


def _prefix(target: Path) -> str:
    return f".{target.name}.restoring-"


def has_remains(target: Path) -> bool:
    """Tell whether a private folder is beside *target*: of one that was killed, it may be."""
    return any(target.parent.glob(f"{glob.escape(_prefix(target))}*"))


def sweep(target: Path, *, heir: Path | None = None) -> None:
    """
    Remove the private folders beside *target* whose process has died; one may inherit.

    Only what was ours: somebody else's objects may be made up, and their checksums with them.
    """
    for folder in target.parent.glob(f"{glob.escape(_prefix(target))}*"):
        with suppress(OSError):
            handle = _lock(folder)
            if heir is not None and os.fstat(handle).st_uid == os.geteuid():
                with suppress(OSError):  # it has fetched nothing, or another one more
                    (folder / FETCHED).rename(heir / FETCHED)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other restores out of a folder for a few system calls."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock(folder: Path) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def write_note(target: Path, note: bytes) -> None:
    """Tell the supervisor what a copy descends from: the old note or this one, and synced."""
    is_new = not beside.folder(target).exists()
    folder = beside.make_folder(target)
    if is_new:
        give(folder, like=target.parent)
    with tempfile.NamedTemporaryFile(prefix=f".{NOTE}-", dir=folder, delete=False) as file:
        try:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
            give(Path(file.name), like=folder)
            Path(file.name).replace(folder / NOTE)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    sync(folder)


@contextmanager
def _undone_on_failure(finished: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if target.samefile(finished):
                target.unlink()
        folder = beside.folder(target)
        with suppress(OSError):
            (folder / NOTE).unlink(missing_ok=True)
            folder.rmdir()  # only an empty one: what was there before stays
        raise


def give(path: Path, *, like: Path) -> None:
    """Let what the superuser has made belong to whom *like* belongs to, who is to use it."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refusal(path: Path, error: OSError) -> StorageUnavailable:
    """Return the error that says what a person can do about *error*."""
    hint = "check the space, the owner and the mode of the folder"
    if error.errno in _NO_LINKS:
        hint = "the file system must allow hard links; choose another path with --to"
    return StorageUnavailable(f"{path} cannot be written: {error.strerror}", hint=hint)
