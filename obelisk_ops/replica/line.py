"""
Whether files come from one write-ahead log, read one after the other. Pure.

Nothing in an LTX file names its database, and nothing chains it to the file before it. But
its header says from where in which log it was read: Litestream goes on exactly where it has
stopped, or at the beginning of a log. A file of another database under the same name does
neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from obelisk_ops.litestream.ltx import Header
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL

_LOG_BEGINS = 32  # behind the header of a write-ahead log


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Two neighbours that are not of one line: one of the two is not what it should be."""

    before: LtxFile
    after: LtxFile
    why: str


def breaks(files: Iterable[tuple[LtxFile, Header]]) -> Iterator[Break]:
    """
    Yield the places where a file does not go on where the one before it stopped.

    Args:
        files: In the order of their transactions. Files made of others hold no such
            position: between them nothing is said.
    """
    before: tuple[LtxFile, Header] | None = None
    for after in files:
        if before is not None and before[0].max_txid + 1 == after[0].min_txid:
            why = _why_not(before[1], after[1]) if _are_read(before[0], after[0]) else ""
            if why:
                yield Break(before=before[0], after=after[0], why=why)
        before = after


def _are_read(before: LtxFile, after: LtxFile) -> bool:
    return before.level in (0, SNAPSHOT_LEVEL) and after.level == 0


def _why_not(before: Header, after: Header) -> str:
    if before.page_size != after.page_size:
        return f"pages of {after.page_size} bytes follow pages of {before.page_size}"
    if after.wal_offset == _LOG_BEGINS or not (after.wal_offset and before.wal_offset):
        return ""  # a log that was begun anew; or it is made of other files
    if after.salts != before.salts:
        return "it was read from the middle of another write-ahead log"
    if after.wal_offset != before.wal_end:
        return (
            f"it was read from {after.wal_offset} on, the one before ends at {before.wal_end}"
        )
    return ""
