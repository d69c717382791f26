"""Where execution logs are kept. Backends only store; no decision is made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from obelisk_ops.core.archive import Archive, ArchiveStore
from obelisk_ops.core.ports import LogReader, Mailbox
from obelisk_ops.errors import UsageError

__all__ = [
    "as_path",
    "is_missing",
    "make_if_missing",
    "open_archive",
    "open_mailbox",
    "open_reader",
    "open_store",
]


def as_path(database: str | Path) -> Path:
    """
    Return the file that *database* names.

    Raises:
        UsageError: It is a URL of a database that is not supported.
    """
    if "://" in str(database):
        raise UsageError(
            f"{str(database).split('://', maxsplit=1)[0]}:// databases are not supported",
            hint="give the path of an SQLite file",
        )
    return Path(database).absolute()


def open_store(path: Path) -> ArchiveStore:
    """Open a database as its owner."""
    from obelisk_ops.storage.sqlite.store import SqliteStore  # noqa: PLC0415 - only when used

    return SqliteStore(path)


def open_reader(path: Path, connection: Any = None) -> LogReader:  # noqa: ANN401
    """
    Open a database to read.

    Args:
        path: The file.
        connection: One that reads it already, such as ``inspect`` opens; else one is
            made, which takes part in the locks of those who write.
    """
    from obelisk_ops.storage.sqlite.store import SqliteReader  # noqa: PLC0415 - only when used

    return SqliteReader(path, connection)


def open_archive(path: Path) -> Archive:
    """Open a database beside its owner, to see what is over in it."""
    from obelisk_ops.storage.sqlite.store import SqliteReader  # noqa: PLC0415 - only when used

    return SqliteReader(path)


def is_missing(path: Path) -> bool:
    """Tell whether nothing is there, or only a file that was never filled."""
    from obelisk_ops.storage.sqlite import making  # noqa: PLC0415 - only when used

    return making.is_missing(path)


def make_if_missing(path: Path) -> None:
    """Make a database, unless it is there; many may do so at the same time."""
    from obelisk_ops.storage.sqlite import making  # noqa: PLC0415 - only when used

    making.make_if_missing(path)


def open_mailbox(path: Path) -> Mailbox:
    """Open a database to read, and to ask its owner for something."""
    from obelisk_ops.storage.sqlite.store import SqliteMailbox  # noqa: PLC0415 - only when used

    return SqliteMailbox(path)
