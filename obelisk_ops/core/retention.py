"""
What may be forgotten. Decides over rows that a store tells of; changes nothing itself.

What goes is whole: a *root* (an execution without a parent) with all its children, and
children before their parents, so that whoever looks meanwhile, or after a kill, never
finds a child without its parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

import msgspec
from msgspec import Struct

from obelisk_ops.core import ids
from obelisk_ops.core.archive import Archive, ArchiveStore
from obelisk_ops.core.ports import State, StateRow
from obelisk_ops.core.rows import PrunedRow

#: the kind of the letters
KIND = "prune"
#: events that go in one transaction: some milliseconds of work
SLICE_EVENTS = 1000
#: executions looked at between two transactions
_WINDOW = 200
_PAGE = 500
_ALL = 1 << 62


class Wanted(Struct, frozen=True, omit_defaults=True):
    """
    What somebody wants to forget; on disk as the body of a ``prune`` letter.

    Attributes:
        before: Only what ended before; UTC milliseconds.
        upto: Only executions with a key up to this.
        results: Only what ended like this; any when empty.
        function: Only this workflow; any when empty.
        newest: For some workflows the key from which on executions stay.
    """

    before: int
    upto: int
    results: tuple[str, ...] = ()
    function: str = ""
    newest: dict[str, int] = {}


def encode(wanted: Wanted) -> str:
    """Write a request as the body of a letter."""
    return msgspec.json.encode(wanted).decode()


class Kept(StrEnum):
    """Why something that was asked for stays. The value is for people."""

    NEWEST = "newest of its function"
    SCHEDULE = "newest of a schedule"
    CHAIN = "goes on as another execution"
    CHILDREN = "has unfinished children"


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """
    What else is known of a root.

    Attributes:
        is_named: Whether a schedule needs it to know what it did.
        goes_on_as: The last execution that continued it, if there is one.
        has_unfinished: Whether something below it has not ended.
    """

    is_named: bool = False
    goes_on_as: str | None = None
    has_unfinished: bool = False


def is_asked_for(root: StateRow, wanted: Wanted) -> bool:
    """Return whether a finished root is of the kind that is to go."""
    return (
        root.key <= wanted.upto
        and (root.finished_at or 0) < wanted.before
        and (not wanted.results or root.result in wanted.results)
        and wanted.function in ("", root.function)
    )


def why_kept(root: StateRow, wanted: Wanted, around: Around) -> Kept | None:
    """Return why a root that is asked for stays; None if it goes."""
    if root.key >= wanted.newest.get(root.function, _ALL):
        return Kept.NEWEST
    if around.is_named:
        return Kept.SCHEDULE
    # The first of a chain bears the id by which people know it: it goes with the last.
    if around.goes_on_as is not None and first_of(root.id) == root.id:
        return Kept.CHAIN
    return Kept.CHILDREN if around.has_unfinished else None


def first_of(execution_id: str) -> str:
    """Return the id of the first of a chain: ``a`` of ``a~3``, ``a/1`` of ``a/1~3``."""
    return ids.split_link(execution_id)[0]


@dataclass(slots=True)
class Group:
    """
    Executions of one workflow that ended alike.

    Attributes:
        function: The workflow.
        result: How they ended.
        executions: How many.
        events: Of their logs.
        bytes: About how much of the file they fill.
        oldest: When the first one ended; UTC milliseconds.
        newest: When the last one ended.
    """

    function: str
    result: str
    executions: int = 0
    events: int = 0
    bytes: int = 0
    oldest: int = _ALL
    newest: int = 0


@dataclass(slots=True)
class Report:
    """
    What goes, or went.

    Attributes:
        executions: How many, children included.
        events: Of their logs.
        kept: How many that were asked for stay, by reason.
        groups: What goes, by function and result; by ``survey`` only.
    """

    executions: int = 0
    events: int = 0
    kept: dict[Kept, int] = field(default_factory=dict)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)


def survey(archive: Archive, wanted: Wanted) -> Report:
    """Say what would go. Reads much: not for the thread that drives workflows."""
    report = Report()
    for unit in units(archive, wanted, report):
        for root in unit or ():
            _weigh(archive, [root], report)
            children = family(archive, root)
            while page := list(islice(children, _PAGE)):
                _weigh(archive, page, report)
    return report


def _weigh(archive: Archive, rows: list[StateRow], report: Report) -> None:
    kinds = {(row.function, str(row.result)) for row in rows}
    for kind in kinds:
        alike = [row for row in rows if (row.function, str(row.result)) == kind]
        events, size = archive.weight([row.key for row in alike])
        group = report.groups.setdefault(kind, Group(*kind))
        ends = [row.finished_at or row.created_at for row in alike]
        group.executions += len(alike)
        group.events += events
        group.bytes += size
        group.oldest, group.newest = min(group.oldest, *ends), max(group.newest, *ends)
        report.executions += len(alike)
        report.events += events


def units(archive: Archive, wanted: Wanted, report: Report) -> Iterator[list[StateRow] | None]:
    """
    Yield the roots that go, those together that go together; None to take a breath.

    What was yielded before may be gone when the next is asked for.
    """
    for begin in range(0, wanted.upto, _WINDOW):
        yield None
        named = {row.newest for row in archive.crons() if row.newest is not None}
        for root in archive.finished_roots(begin, min(begin + _WINDOW, wanted.upto)):
            if is_asked_for(root, wanted):
                unit = _unit(archive, root)
                reason = why_kept(root, wanted, _around(archive, unit, named))
                if reason is None:
                    yield unit
                else:
                    report.kept[reason] = report.kept.get(reason, 0) + 1


def _unit(archive: Archive, root: StateRow) -> list[StateRow]:
    """Return a root, after the first of its chain if it is the last."""
    first = first_of(root.id)
    if first == root.id or archive.newest_link(first) != root:
        return [root]
    found = archive.find(first)
    return [root] if found is None else [found, root]


def _around(archive: Archive, unit: list[StateRow], named: set[str]) -> Around:
    root = unit[-1]
    first = first_of(root.id)
    last = archive.newest_link(first) if first == root.id else None
    is_open = any(row.state is not State.FINISHED for row in unit) or any(
        _is_below(archive, row, member)
        for member in unit
        for row in archive.unfinished_below(member.id)
    )
    return Around(
        is_named=not named.isdisjoint((root.id, first)),
        goes_on_as=last.id if last is not None else None,
        has_unfinished=is_open,
    )


def family(archive: Archive, root: StateRow) -> Iterator[StateRow]:
    """Yield all that is below a root, children before their parents."""
    before = _ALL
    while page := archive.below(root.id, before, _PAGE):
        before = page[-1].key
        for row in page:
            if _is_below(archive, row, root):
                yield row


def _is_below(archive: Archive, row: StateRow, root: StateRow) -> bool:
    """Tell a child, or child of a child, from what the root has scheduled and what is there."""
    parent = row.parent
    while parent is not None and parent > root.key:
        parent = archive.get(parent).parent
    return parent == root.key


def slices(store: ArchiveStore, wanted: Wanted, report: Report) -> Iterator[list[PrunedRow]]:
    """
    Yield rows to delete in one transaction each, in this order; some are empty.

    Each is durable before the next is asked for, or all of it is begun again.
    """
    for key in store.leftovers():
        yield [(key, *_part(*store.ends(key)))]
        yield from _rest(store, key)
    batch = _Batch(store, report)
    for unit in units(store, wanted, report):
        if unit is None:
            yield batch.take()
            continue
        for root in unit:
            for row in family(store, root):
                yield from batch.add(row)
        yield from batch.add(*unit)  # at once: nobody finds a chain without its end
    yield batch.take()


class _Batch:
    """Rows of one transaction, until there are enough."""

    def __init__(self, store: ArchiveStore, report: Report) -> None:
        self._store = store
        self._report = report
        self._rows: list[PrunedRow] = []
        self._size = 0

    def take(self) -> list[PrunedRow]:
        rows, self._rows, self._size = self._rows, [], 0
        return rows

    def add(self, *rows: StateRow) -> Iterator[list[PrunedRow]]:
        for row in rows:
            events, seqs = self._store.ends(row.key)
            self._report.executions += 1
            self._report.events += events
            self._rows.append((row.key, *_part(events, seqs)))
            self._size += max(events, seqs)
        if self._size >= SLICE_EVENTS:
            yield self.take()
            for row in rows:
                yield from _rest(self._store, row.key)


def _part(events: int, seqs: int) -> tuple[int, int]:
    """Return where the end of a long log begins; all of a short one, and its start last."""
    version, seq = max(0, events - SLICE_EVENTS), max(0, seqs - SLICE_EVENTS)
    return (max(version, 1), seq) if version or seq else (0, 0)


def _rest(store: ArchiveStore, key: int) -> Iterator[list[PrunedRow]]:
    while any(ends := store.ends(key)):
        yield [(key, *_part(*ends))]
