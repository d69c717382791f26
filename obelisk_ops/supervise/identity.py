"""Which file it is, and which machine: what an epoch is tied to."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from obelisk_ops.errors import OpsError
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.summary import is_workflow_database, read_meta

_MAGIC = b"SQLite format 3\0"
_READ_LIMIT_S = 2.0
#: What a database says of itself is short, and so are the statements of its tables.
_LONGEST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """
    What can be seen of a file without changing it.

    Attributes:
        inode: Which file it is.
        is_empty: It has no content yet; somebody is about to make a database of it.
        is_database: It begins like an SQLite database.
    """

    inode: int
    is_empty: bool
    is_database: bool


def identify(path: Path) -> Identity | None:
    """Return what can be seen of *path*; None if there is no file."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
        return Identity(inode=path.stat().st_ino, is_empty=not head, is_database=head == _MAGIC)
    except OSError:
        return None


def inode_of(path: Path) -> int | None:
    """Return which file is at *path*; None if there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def database_id(path: Path) -> str | None:
    """Return the id stored in a workflow database; None if there is none to be read."""
    try:
        with open_read_only(path, limit_s=_READ_LIMIT_S, longest=_LONGEST) as connection:
            if not is_workflow_database(connection):
                return None
            return read_meta(connection).get("database_id")
    except OpsError:
        return None


def host(configured: str = "") -> str:
    """Return the name of this machine: the *configured* one, or what the system calls it."""
    return configured or platform.node() or "localhost"
