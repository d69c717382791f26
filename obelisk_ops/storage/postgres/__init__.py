"""The execution log in one schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from obelisk_ops.core.archive import Archive, ArchiveStore
from obelisk_ops.core.migrating import Plan
from obelisk_ops.core.ports import Mailbox
from obelisk_ops.core.tasks import Counter, View
from obelisk_ops.errors import ProgramMissing
from obelisk_ops.storage.held import Held
from obelisk_ops.storage.postgres.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """
    What is in a schema.

    Attributes:
        size: Bytes of its tables.
        meta: What it says of itself.
        census: Function, state and result, and how many executions have them.
        failures: Id, function and error of those that ended badly or are parked, newest
            first; with body and time of the last event of each.
        open_calls: Key, id and function of an unfinished execution, and version, time, kind
            and body of an event about an attempt; in order.
        last_event_ms: When something was last recorded; UTC milliseconds.
    """

    size: int
    meta: Mapping[str, str]
    census: Sequence[tuple[str, str, str | None, int]]
    failures: Sequence[tuple[str, str, str | None, str, int]]
    open_calls: Sequence[tuple[int, str, str, int, int, str, str]]
    last_event_ms: int | None


class Ears(Protocol):
    """
    What hears that letters come, or tasks; one that is deaf is replaced.

    Attributes:
        is_barred: Whether no other would hear anything either: a pooler is between.
    """

    is_barred: bool

    def fileno(self) -> int | None:
        """Return what becomes readable when there is something to hear; None if it is deaf."""
        ...

    def hear(self) -> list[str] | None:
        """
        Take in what was said; None if it hears no more.

        It is ``letter ID`` for the worker of that id, 0 for all; ``done ID`` when something
        has come of tasks of its executions; ``left`` when a worker has ended; ``gift ID``;
        ``call ID``, to show that it lives; ``end HASH`` of an execution that is waited for.
        """
        ...

    def close(self) -> None:
        """Listen no more. Twice is allowed."""
        ...


def own(place: Place, opening: Callable[[Place], Any], patience_s: float) -> Held:
    """See ``storage.own``."""
    store = opening(place)
    store.be_patient(patience_s)
    return Held(
        store=store, last_owner_closed=store.last_owner_closed, release=store.close,
        shared=store, board=store.board,
    )  # fmt: skip


def open_store(place: Place) -> ArchiveStore:
    """Open a database as its owner."""
    opened: ArchiveStore = _room("store").PostgresStore(place)
    return opened


def is_owned(place: Place) -> bool:
    """Tell whether a process owns a database now."""
    return bool(_room("owning").is_owned(place))


def served(place: Place) -> frozenset[str]:
    """Return the workflows that are served now."""
    found: frozenset[str] = _room("owning").served(place)
    return found


def listen(place: Place, *, is_task: bool = False) -> Ears:
    """Hear when a letter comes, or a task."""
    ears: Ears = _room("listening").Listener(place, is_task=is_task)
    return ears


def open_counter(place: Place, queues: Collection[str]) -> Counter:
    """Be a worker that claims tasks of these queues."""
    opened: Counter = _room("tasks").TaskCounter(place, queues)
    return opened


def look_at_tasks(place: Place, executions: Collection[int]) -> list[View]:
    """Return how far the tasks of some executions are."""
    views: list[View] = _room("tasks").look_at(place, executions)
    return views


def open_reader(place: Place) -> Archive:
    """Open a database to read, beside its owner."""
    opened: Archive = _room("store").PostgresReader(place)
    return opened


def open_mailbox(place: Place) -> Mailbox:
    """Open a database to read, and to ask its owner for something."""
    opened: Mailbox = _room("asking").PostgresMailbox(place)
    return opened


def survey(place: Place, failures_max: int) -> Survey:
    """Read what is in a database, at one moment."""
    found: Survey = _room("surveying").survey(place, failures_max)
    return found


def is_missing(place: Place) -> bool:
    """Tell whether there are no tables yet."""
    return not _room("making").is_made(place)


def make_if_missing(place: Place) -> bool:
    """Make the tables, unless they are there; return whether they were made."""
    return bool(_room("making").make_if_missing(place))


def plan_migration(place: Place) -> Plan:
    """Return what ``migrate`` would do."""
    found: Plan = _room("migrating").look(place)
    return found


def migrate(place: Place) -> Plan:
    """Make the tables, or bring them to the newest version; return what was to be done."""
    done: Plan = _room("migrating").migrate(place)
    return done


def _room(name: str) -> Any:  # noqa: ANN401 - a module
    """Return a module that needs the driver: an extra, which not everybody has."""
    try:
        return import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise ProgramMissing(
            "the driver that PostgreSQL is spoken to with cannot be loaded",
            hint="pip install 'obelisk-ops[postgres]'",
        ) from error
