"""
Whether files come from one write-ahead log, read one after the other. Pure.

Nothing in an LTX file names its database, and nothing chains it to the file before it. But
its header says from where in which log it was read: Litestream goes on exactly where it has
stopped, or at the beginning of a log. A file of another database under the same name does
neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from obelisk_ops.litestream.ltx import Header
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL

Read: TypeAlias = tuple[LtxFile, Header]

_LOG_BEGINS = 32  # behind the header of a write-ahead log


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Two neighbours that are not of one line: one of the two is not what it should be."""

    before: LtxFile
    after: LtxFile
    why: str

    @property
    def words(self) -> str:
        """What is wrong, with the names of both."""
        return f"{self.after.key} does not go on from {self.before.key}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    What the positions of shipped files say about them.

    Attributes:
        strangers: Files that are not of the line, or may not be, with what is wrong. Of two
            that do not fit it may be either, if nothing else speaks for one of them.
        vouched: Files that another one goes on from, or that go on from another one.
    """

    strangers: dict[LtxFile, str] = field(default_factory=dict)
    vouched: frozenset[LtxFile] = frozenset()

    def blame(self, broken: Break) -> dict[LtxFile, str]:
        """Return the strangers of one more break."""
        sides = (broken.before, broken.after)
        if any(side in self.strangers for side in sides):
            return {}
        suspects = [side for side in sides if side not in self.vouched] or sides
        return dict.fromkeys(suspects, broken.words)


def breaks(files: Iterable[Read]) -> Iterator[Break]:
    """
    Yield the places where a file does not go on where the one before it stopped.

    Args:
        files: In the order of their transactions. Files made of others hold no such
            position: between them nothing is said.
    """
    for before, after in _neighbours(files):
        why = _why_not(before[1], after[1])
        if why:
            yield Break(before=before[0], after=after[0], why=why)


def judge(shipped: Sequence[Read]) -> Line:
    """Return what the files of level 0, ordered by transaction, say of each other."""
    vouched = frozenset(
        file
        for before, after in _neighbours(shipped)
        if _goes_on(before[1], after[1])
        for file in (before[0], after[0])
    )
    found = list(breaks(shipped))
    often = Counter(file for one in found for file in (one.before, one.after))
    line = Line(vouched=vouched)
    for one in found:
        between = [file for file in (one.before, one.after) if often[file] > 1]
        blamed = dict.fromkeys(between, one.words) if between else line.blame(one)
        for file, why in blamed.items():
            line.strangers.setdefault(file, why)
    return line


def _neighbours(files: Iterable[Read]) -> Iterator[tuple[Read, Read]]:
    for before, after in pairwise(files):
        is_next = before[0].max_txid + 1 == after[0].min_txid
        if is_next and before[0].level in (0, SNAPSHOT_LEVEL) and after[0].level == 0:
            yield before, after


def _goes_on(before: Header, after: Header) -> bool:
    return after.salts == before.salts and after.wal_offset == before.wal_end


def _why_not(before: Header, after: Header) -> str:
    if before.page_size != after.page_size:
        return f"pages of {after.page_size} bytes follow pages of {before.page_size}"
    if after.wal_offset == _LOG_BEGINS or not (after.wal_offset and before.wal_offset):
        return ""  # a log that was begun anew; or it is made of other files
    if after.salts != before.salts:
        return "it was read from the middle of another write-ahead log"
    if after.wal_offset != before.wal_end:
        return f"it was read from {after.wal_offset} on, not from {before.wal_end}"
    return ""
