"""
Where execution logs are kept. Backends only store; no decision is made here.

A database is a file, or a schema on a PostgreSQL server: its *address* says which.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeAlias

from obelisk_ops.core.archive import Archive, ArchiveStore
from obelisk_ops.core.migrating import Plan
from obelisk_ops.core.ports import LogReader, Mailbox
from obelisk_ops.core.tasks import Counter, View
from obelisk_ops.errors import UsageError
from obelisk_ops.storage import postgres
from obelisk_ops.storage.held import Held
from obelisk_ops.storage.postgres.place import SCHEMES, Place
from obelisk_ops.storage.postgres.place import read as read_url

__all__ = [
    "Address",
    "Place",
    "as_address",
    "as_path",
    "is_missing",
    "is_owned",
    "is_server",
    "listen",
    "look_at_tasks",
    "make_if_missing",
    "migrate",
    "open_archive",
    "open_counter",
    "open_mailbox",
    "open_reader",
    "open_store",
    "own",
    "plan_migration",
    "served",
    "survey",
]

Address: TypeAlias = Path | Place


def is_server(database: str) -> bool:
    """Tell whether this is the URL of a PostgreSQL database."""
    return database.partition("://")[0] in SCHEMES and "://" in database


def as_address(database: str | Path | Place) -> Address:
    """
    Return what *database* names: a file, or a schema on a server.

    Raises:
        UsageError: It is a URL of a database that is not supported.
        ConfigError: It is a URL that cannot be read.
    """
    if isinstance(database, Place):
        return database
    return read_url(str(database)) if is_server(str(database)) else as_path(database)


def as_path(database: str | Path) -> Path:
    """
    Return the file that *database* names.

    Raises:
        UsageError: It is a URL.
    """
    scheme, is_url, _ = str(database).partition("://")
    if is_url:
        raise UsageError(
            f"{scheme}:// databases are not supported",
            hint="give the path of an SQLite file",
        )
    return Path(database).absolute()


def own(
    address: Address,
    opening: Callable[[Any], ArchiveStore] | None = None,
    patience_s: float = 30.0,
) -> Held:
    """
    Become the one owner of a database; it is made if there is none.

    Args:
        address: Which one.
        opening: How its store is opened, where a test puts something before it.
        patience_s: How long its server is waited for, if one is asked and does not answer.

    Raises:
        DatabaseLocked: Another process owns it.
        CorruptDatabase: It is damaged.
        StorageUnavailable: It cannot be opened.
    """
    if isinstance(address, Place):
        return postgres.own(address, opening or open_store, patience_s)
    from obelisk_ops.storage.sqlite.owning import own as own_file  # noqa: PLC0415 - only when used

    return own_file(address, opening or open_store)


def is_owned(address: Address) -> bool:
    """Tell whether a process owns a database now."""
    if isinstance(address, Place):
        return postgres.is_owned(address)
    from obelisk_ops.storage.sqlite import beside  # noqa: PLC0415 - only when used

    return beside.is_owned(address)


def open_store(address: Address) -> ArchiveStore:
    """Open a database as its owner."""
    if isinstance(address, Place):
        return postgres.open_store(address)
    from obelisk_ops.storage.sqlite.store import SqliteStore  # noqa: PLC0415 - only when used

    return SqliteStore(address)


def open_reader(address: Address, connection: Any = None) -> LogReader:  # noqa: ANN401
    """
    Open a database to read.

    Args:
        address: Which one.
        connection: One that reads a file already, such as ``inspect`` opens; else one is
            made, which takes part in the locks of those who write.
    """
    if isinstance(address, Place):
        return postgres.open_reader(address)
    from obelisk_ops.storage.sqlite.store import SqliteReader  # noqa: PLC0415 - only when used

    return SqliteReader(address, connection)


def open_archive(address: Address) -> Archive:
    """Open a database beside its owner, to see what is over in it."""
    if isinstance(address, Place):
        return postgres.open_reader(address)
    from obelisk_ops.storage.sqlite.store import SqliteReader  # noqa: PLC0415 - only when used

    return SqliteReader(address)


def is_missing(address: Address) -> bool:
    """Tell whether nothing is there, or only a file that was never filled."""
    if isinstance(address, Place):
        return postgres.is_missing(address)
    from obelisk_ops.storage.sqlite import making  # noqa: PLC0415 - only when used

    return making.is_missing(address)


def make_if_missing(address: Address) -> None:
    """Make a database, unless it is there; many may do so at the same time."""
    if isinstance(address, Place):
        postgres.make_if_missing(address)
        return
    from obelisk_ops.storage.sqlite import making  # noqa: PLC0415 - only when used

    making.make_if_missing(address)


def plan_migration(address: Address) -> Plan:
    """Return what ``migrate`` would do. A file gets what is missing when it is opened."""
    if isinstance(address, Place):
        return postgres.plan_migration(address)
    from obelisk_ops.storage.sqlite.connection import SCHEMA_VERSION  # noqa: PLC0415

    return Plan(version=None if is_missing(address) else SCHEMA_VERSION)


def migrate(address: Address) -> Plan:
    """
    Make a database, or bring it to the newest version; return what there was to be done.

    Raises:
        StillServed: Workers live that could not work with the new tables.
    """
    if isinstance(address, Place):
        return postgres.migrate(address)
    found = plan_migration(address)
    make_if_missing(address)
    return found


def open_mailbox(address: Address) -> Mailbox:
    """Open a database to read, and to ask its owner for something."""
    if isinstance(address, Place):
        return postgres.open_mailbox(address)
    from obelisk_ops.storage.sqlite.store import SqliteMailbox  # noqa: PLC0415 - only when used

    return SqliteMailbox(address)


def listen(place: Place, *, is_task: bool = False) -> postgres.Ears:
    """Hear when a letter comes to a database on a server, or a task."""
    return postgres.listen(place, is_task=is_task)


def look_at_tasks(address: Address, executions: Collection[int]) -> list[View]:
    """Return how far the tasks of some executions are; in a file there are none."""
    return postgres.look_at_tasks(address, executions) if isinstance(address, Place) else []


def open_counter(place: Place, queues: Collection[str]) -> Counter:
    """
    Be a worker that claims tasks of these queues in a database on a server.

    Raises:
        DatabaseNotFound: There are no tables yet.
        StorageUnavailable: The server does not answer.
    """
    return postgres.open_counter(place, queues)


def survey(place: Place, failures_max: int) -> postgres.Survey:
    """Read what is in a database on a server, at one moment."""
    return postgres.survey(place, failures_max)


def served(place: Place) -> frozenset[str]:
    """Return the workflows that the workers of a database on a server serve now."""
    return postgres.served(place)
