"""
Reading a backup where it is: SQLite over the pages of an image, without a file.

SQLite gets a file system of its own for one connection, in which there is one file that
nobody can change. It asks for pages, and gets them from the bucket.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from obelisk_ops.errors import Unproven
from obelisk_ops.inspect.opening import deadline, harden, translated
from obelisk_ops.replica.image import Image

_SECTOR_BYTES = 4096
_CACHE_KIB = 16 * 1024

_numbers = itertools.count(1)


@contextmanager
def open_in_place(image: Image, name: str, *, limit_s: float) -> Iterator[apsw.Connection]:
    """
    Open a database of which nothing is on this machine.

    Args:
        image: Its pages.
        name: What it is called in messages.
        limit_s: Statements fail when this time is over, whatever they do.

    Raises:
        CorruptDatabase: It is damaged, or no database.
        DamagedObject: An object that is needed is damaged.
        RestorePointNotFound: Retention has removed the restore point meanwhile.
        Unproven: The time was over.
        S3Unavailable: The bucket does not answer.
    """
    ends_at = time.monotonic() + limit_s

    def look_at_the_clock() -> None:
        if time.monotonic() > ends_at:
            raise Unproven(
                f"{name} could not be read within {limit_s:g} s",
                hint="the bucket is slow, or much of it was read: restore it, and look into "
                "the copy, or allow more time with --within",
            )

    with translated(name, limit_s), _file_system(image) as vfs:
        image.on_fetch = look_at_the_clock
        connection = apsw.Connection(
            "file:database?immutable=1",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
            vfs=vfs,
        )
        try:
            harden(connection)
            connection.pragma("cache_size", -_CACHE_KIB)
            deadline(connection, ends_at)
            yield connection
        finally:
            connection.close()


@contextmanager
def _file_system(image: Image) -> Iterator[str]:
    name = f"obelisk-ops-{next(_numbers)}"
    vfs = _FileSystem(name, image)
    try:
        yield name
    finally:
        vfs.unregister()


class _FileSystem(apsw.VFS):
    """One file, whatever it is called; nothing beside it."""

    def __init__(self, name: str, image: Image) -> None:
        super().__init__(name, "")
        self._image = image

    def xOpen(  # noqa: N802 - SQLite's names
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open the database; there is no place for anything else."""
        if not flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            raise apsw.CantOpenError(f"{name} has no place in a backup")
        flags[1] = apsw.SQLITE_OPEN_READONLY
        return _File(self._image)  # type: ignore[return-value]  # it needs only the methods

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Return the name: there are no folders."""
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: ARG002, N802
        """Tell that no journal and no log is there."""
        return False

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802
        """Refuse: nothing is ever deleted."""
        raise apsw.ReadOnlyError(f"{filename} is a backup ({syncdir=})")


class _File:
    """The pages of an image as one file that cannot change."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        """Return bytes; fewer than asked for at the end."""
        size = self._image.page_size
        first, within = divmod(offset, size)
        if within == 0 and amount == size and first < self._image.pages:
            return self._image.page(first + 1)
        end = min(offset + amount, size * self._image.pages)
        pages = (self._image.page(n + 1) for n in range(first, -(-end // size)))
        return b"".join(pages)[within : within + end - offset]

    def xFileSize(self) -> int:  # noqa: N802
        """Return the size of the database."""
        return self._image.page_size * self._image.pages

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        """Tell that nobody changes it: no lock and no log is needed, also in WAL mode."""
        return int(apsw.SQLITE_IOCAP_IMMUTABLE)

    def xSectorSize(self) -> int:  # noqa: N802
        """Return what a disk would."""
        return _SECTOR_BYTES

    def xLock(self, level: int) -> None:  # noqa: N802
        """Do nothing: nobody writes."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """Do nothing."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        """Tell that nobody is about to write."""
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: ARG002, N802
        """Know no requests."""
        return False

    def xClose(self) -> None:  # noqa: N802
        """Keep the image: who opened it closes it."""
