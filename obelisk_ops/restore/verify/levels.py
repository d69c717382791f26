"""
Whether objects that say the same say it alike. Pure.

A compacted file holds what the files that it was made of hold, and a snapshot holds what the
files before it lead to. Nothing in an object names its database: where one was exchanged, this
is what shows it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL
from obelisk_ops.restore.verify.proof import Proven

_SHOWN_PAGES = 3
#: Of whose pages less than this could be held against others, that stands alone.
_ENOUGH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """
    Objects that cannot all be what they should be.

    Attributes:
        upper: The compacted file or snapshot.
        lower: Of the files that lead there, those that hold what differs.
        why: Where they differ.
    """

    upper: LtxFile
    lower: tuple[LtxFile, ...]
    why: str


class Levels:
    """
    Goes through the objects of one epoch, by their last transaction, lower levels first.

    Attributes:
        compared: The objects that were held against others.
    """

    def __init__(self) -> None:
        self.compared: set[LtxFile] = set()
        self._parts: defaultdict[int, list[Proven]] = defaultdict(list)
        self._chain = _Chain()
        self._waiting: list[Proven] = []  # snapshots that the chain has not reached

    def add(self, proven: Proven) -> Iterator[Contradiction]:
        """Take in the next object, and yield what contradicts it."""
        if proven.file.level == SNAPSHOT_LEVEL:
            yield from self._snapshot(proven)
            return
        yield from self._compacted(proven)
        if self._chain.is_continued_by(proven.file):
            yield from self._passed_over(proven)
            self._chain.go_on(proven)
        elif proven.file.min_txid > self._chain.reached + 1:
            self._begin_anew(proven)

    def _compacted(self, upper: Proven) -> Iterator[Contradiction]:
        level = upper.file.level
        if level:
            parts = self._parts.pop(level - 1, [])
            lower = [part for part in parts if part.file.min_txid >= upper.file.min_txid]
            if _covers(lower, upper.file):
                merged, holders = _merge(lower, upper.header.commit)
                sizes = {part.file: len(part.pages) for part in lower}
                self.compared |= {upper.file, *_tested(sizes, holders)}
                yield from _differences(upper, merged, upper.pages, holders)
                yield from _times(upper, lower[-1])
        self._parts[level].append(upper)

    def _snapshot(self, snapshot: Proven) -> Iterator[Contradiction]:
        chain = self._chain
        if chain.reached < snapshot.file.max_txid:
            self._waiting.append(snapshot)
            return
        self.compared |= {snapshot.file, *_tested(chain.sizes, chain.holders)}
        chain.sizes.clear()
        found = list(_differences(snapshot, chain.pages, snapshot.pages, chain.holders))
        yield from found
        if not found:
            chain.holders.clear()  # who wrote what is right does not matter

    def _passed_over(self, later: Proven) -> Iterator[Contradiction]:
        """
        Compare the snapshots that a file goes beyond.

        No state ends where they do; but what the file does not hold was not changed since.
        """
        for snapshot in self._waiting:
            most = min(snapshot.header.commit, later.header.commit)
            numbers = {n for n in self._chain.pages.keys() - later.pages.keys() if n <= most}
            if len(numbers) >= len(snapshot.pages) * _ENOUGH:
                self.compared.add(snapshot.file)
            wanted = {n: self._chain.pages[n] for n in numbers}
            told = {n: snapshot.pages[n] for n in numbers if n in snapshot.pages}
            yield from _differences(snapshot, wanted, told, self._chain.holders)
        self._waiting.clear()

    def _begin_anew(self, proven: Proven) -> None:
        """Begin behind a gap, at the last snapshot from which the file goes on."""
        fitting = [s for s in self._waiting if s.file.max_txid + 1 >= proven.file.min_txid]
        self._waiting.clear()
        self._chain = _Chain()
        if fitting:
            self._chain.begin(fitting[-1])
            self._chain.go_on(proven)


class _Chain:
    """The state that files lead to, one after the other."""

    def __init__(self) -> None:
        self.pages: dict[int, int] = {}
        self.reached = 0
        self.holders: dict[int, LtxFile] = {}  # of pages, since a snapshot was found alike
        self.sizes: dict[LtxFile, int] = {}  # in pages, since then

    def is_continued_by(self, file: LtxFile) -> bool:
        return file.min_txid <= self.reached + 1 and file.max_txid > self.reached

    def begin(self, snapshot: Proven) -> None:
        self.pages, self.reached = dict(snapshot.pages), snapshot.file.max_txid
        self.holders = {}

    def go_on(self, proven: Proven) -> None:
        commit = proven.header.commit
        self.pages |= proven.pages
        self.holders |= dict.fromkeys(proven.pages, proven.file)
        if len(self.pages) > commit:
            self.pages = {n: page for n, page in self.pages.items() if n <= commit}
        self.reached = proven.file.max_txid
        self.sizes[proven.file] = len(proven.pages)


def _tested(sizes: Mapping[LtxFile, int], holders: Mapping[int, LtxFile]) -> set[LtxFile]:
    """Return the files of which enough was not written over before it was compared."""
    held = Counter(holders.values())
    return {file for file, size in sizes.items() if held[file] >= size * _ENOUGH}


def _covers(lower: Sequence[Proven], upper: LtxFile) -> bool:
    expected = upper.min_txid
    for part in lower:
        if part.file.min_txid != expected:
            return False
        expected = part.file.max_txid + 1
    return expected == upper.max_txid + 1


def _merge(parts: Sequence[Proven], commit: int) -> tuple[dict[int, int], dict[int, LtxFile]]:
    merged: dict[int, int] = {}
    holders: dict[int, LtxFile] = {}
    for part in parts:
        merged |= part.pages
        holders |= dict.fromkeys(part.pages, part.file)
    return {n: page for n, page in merged.items() if n <= commit}, holders


def _differences(
    upper: Proven,
    wanted: Mapping[int, int],
    told: Mapping[int, int],
    holders: Mapping[int, LtxFile],
) -> Iterator[Contradiction]:
    if wanted == told:
        return
    numbers = sorted(n for n in wanted.keys() | told.keys() if wanted.get(n) != told.get(n))
    shown = ", ".join(map(str, numbers[:_SHOWN_PAGES]))
    more = "" if len(numbers) <= _SHOWN_PAGES else f" and {len(numbers) - _SHOWN_PAGES} more"
    lower = {holders[n].key: holders[n] for n in numbers if n in holders}
    key = upper.file.key
    yield Contradiction(
        upper=upper.file, lower=tuple(lower.values()),
        why=f"{key} and what leads there differ in page {shown}{more}",
    )  # fmt: skip


def _times(upper: Proven, last: Proven) -> Iterator[Contradiction]:
    if upper.header.timestamp_ms != last.header.timestamp_ms:
        yield Contradiction(
            upper=upper.file, lower=(last.file,),
            why=f"{upper.file.key} and {last.file.key} were captured at different times",
        )  # fmt: skip
