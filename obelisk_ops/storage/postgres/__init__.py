"""The execution log in one schema of a PostgreSQL database."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from obelisk_ops.core.archive import Archive, ArchiveStore
from obelisk_ops.core.ports import Mailbox
from obelisk_ops.errors import ProgramMissing

if TYPE_CHECKING:
    from obelisk_ops.storage.postgres.place import Place


def open_store(place: Place) -> ArchiveStore:
    """Open a database as its owner; the tables are made if there are none."""
    opened: ArchiveStore = _room("store").PostgresStore(place)
    return opened


def open_reader(place: Place) -> Archive:
    """Open a database to read, beside its owner."""
    opened: Archive = _room("store").PostgresReader(place)
    return opened


def open_mailbox(place: Place) -> Mailbox:
    """Open a database to read, and to ask its owner for something."""
    opened: Mailbox = _room("store").PostgresMailbox(place)
    return opened


def is_missing(place: Place) -> bool:
    """Tell whether there are no tables yet."""
    return not _room("making").is_made(place)


def make_if_missing(place: Place) -> bool:
    """Make the tables, unless they are there; return whether they were made."""
    return bool(_room("making").make_if_missing(place))


def _room(name: str) -> Any:  # noqa: ANN401 - a module
    """Return a module that needs the driver: an extra, which not everybody has."""
    try:
        return import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise ProgramMissing(
            "the driver that PostgreSQL is spoken to with cannot be loaded",
            hint="pip install 'obelisk-ops[postgres]'",
        ) from error
