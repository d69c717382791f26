"""
Whether a file of level 0 holds what the database holds.

Litestream reads the write-ahead log alone, and ships a commit that is whole in there. SQLite
goes by the index of that log (-shm): a commit that a killed writer did not enter is none, and
the next one is written over it. What was shipped then is another state than the database ever
had, and nothing that Litestream looks at tells.

A file of level 0 says which part of the log it was read from. As soon as the index knows that
part, its frames stay as they are until the log is begun anew; then they are in the database.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from obelisk_ops.errors import DamagedObject
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.frames import INDEX_TAIL_BYTES, decode_page, find_index, parse_index
from obelisk_ops.litestream.local import (
    LogEnd,
    Shipped,
    level0_file,
    newest_txid,
    read_published,
    read_shipped,
)

#: A larger one is a copy of a whole database, or a load of data; its pages are not compared.
#: Nor are they if its part of the log is larger: a page may pack into a few bytes.
_BYTES_MAX = 64 << 20
#: So much of a file is read at once: many databases are compared side by side.
_PART_BYTES = 128 << 10
_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_PGNO = struct.Struct(">I")


class Likeness(StrEnum):
    """How a file of level 0 and the database compare."""

    SAME = "it holds what the database holds"
    UNFINISHED = "it holds a commit that is in the log, and that the index does not know"
    DIFFERENT = "it holds what the database does not hold"


def is_unfinished(shipped: Shipped, published: LogEnd) -> bool:
    """Tell whether something was shipped that the index of the same log does not know."""
    return shipped.salts == published.salts and shipped.wal_end > published.offset


def compare(database: Path, meta: Path, txid: int) -> Likeness | None:
    """
    Compare one file of level 0 with the database; slow, to be called in a thread.

    Returns:
        None if that cannot be told now. A file that is no longer kept counts as the same.
    """
    published = read_published(database)
    if published is None:
        return None
    try:
        with _opened(meta, txid) as file:
            found = _compare(file, database, meta, published)
    except FileNotFoundError:
        return Likeness.SAME
    except (OSError, DamagedObject):
        return None
    again = read_published(database)
    return found if again is not None and again.salts == published.salts else None


def _compare(file: _Level0, database: Path, meta: Path, published: LogEnd) -> Likeness | None:
    header = file.header
    if header.salts != published.salts:
        return _compare_with_file(file, database, meta, published)
    if header.wal_end > published.offset:
        return Likeness.UNFINISHED
    return Likeness.SAME if _is_in_log(file, database) else Likeness.DIFFERENT


def _compare_with_file(
    file: _Level0, database: Path, meta: Path, published: LogEnd
) -> Likeness | None:
    newest = newest_txid(meta)
    later = _pages_of(meta, range(file.header.max_txid + 1, newest + 1))
    if later is None or _is_in_file(file, database, later):
        return Likeness.SAME
    shipped = read_shipped(meta, newest)
    # Until Litestream reads the log of now, a copy of all may be on its way: it makes one
    # where a log was begun anew with commits in it that it had not read.
    is_all = shipped is not None and shipped.salts == published.salts
    return Likeness.DIFFERENT if is_all else None


class _Level0:
    """An open file of level 0, and the pages in it: none if it is too large to be compared."""

    def __init__(self, file: int, key: str) -> None:
        self._file, self._key = file, key
        size = os.fstat(file).st_size
        self._beginning = os.pread(file, min(size, _PART_BYTES), 0)  # of most files that is all
        self.header = ltx.parse_header(self._beginning[: ltx.HEADER_BYTES], key)
        self.is_read = size <= _BYTES_MAX
        start, end = self._find_index(size) if self.is_read else (0, 0)
        self._span = parse_index(self._read(start, end), start, key)
        self.pages = self._span.pages

    def page(self, pgno: int) -> bytes | None:
        """Return the content of a page; None if it is not there."""
        frame = self._span.find(pgno)
        if frame is None:
            return None
        packed = self._read(frame.offset, frame.offset + frame.size)
        return decode_page(packed, frame, self.header.page_size, self._key)

    def _find_index(self, size: int) -> tuple[int, int]:
        tail = self._read(max(size - INDEX_TAIL_BYTES, 0), size)
        return find_index(tail, size, self._key)

    def _read(self, start: int, end: int) -> bytes:
        if end <= len(self._beginning):
            return self._beginning[start:end]
        return os.pread(self._file, end - start, start)


@contextmanager
def _opened(meta: Path, txid: int) -> Iterator[_Level0]:
    path = level0_file(meta, txid)
    with path.open("rb", buffering=0) as file:
        yield _Level0(file.fileno(), str(path))


def _pages_of(meta: Path, txids: Iterable[int]) -> set[int] | None:
    """Return which pages some files hold; None if one is too large to tell: any of them."""
    found = set[int]()
    for txid in txids:
        with suppress(FileNotFoundError), _opened(meta, txid) as file:  # or kept no longer
            if not file.is_read:
                return None
            found.update(file.pages)
    return found


def _is_in_log(file: _Level0, database: Path) -> bool:
    """Tell whether every page that its part of the log holds is in it as it is there."""
    header = file.header
    begin = max(header.wal_offset, _WAL_HEADER_BYTES)
    size = header.wal_end - begin
    if not file.is_read or not 0 < size <= _BYTES_MAX:
        return True
    seen = set[int]()
    with database.with_name(f"{database.name}-wal").open("rb", buffering=0) as wal:
        for pgno, page in _backwards(wal.fileno(), begin, size, header.page_size):
            # Of a page that is there several times the last one counts.
            if pgno <= header.commit and pgno not in seen and page != file.page(pgno):
                return False
            seen.add(pgno)
    return True


def _backwards(wal: int, begin: int, size: int, page_size: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the pages in a part of the log, the last one first."""
    frame_bytes = _FRAME_HEADER_BYTES + page_size
    step = max(_PART_BYTES // frame_bytes, 1) * frame_bytes
    for start in reversed(range(0, size, step)):
        part = os.pread(wal, min(step, size - start), begin + start)
        for at in reversed(range(0, len(part) - _FRAME_HEADER_BYTES, frame_bytes)):
            page = part[at + _FRAME_HEADER_BYTES : at + frame_bytes]
            yield _PGNO.unpack_from(part, at)[0], page


def _is_in_file(file: _Level0, database: Path, later: Iterable[int]) -> bool:
    """
    Tell whether the database file holds its pages: its log was begun anew since.

    What was written again since is *later* shipped, or in the log of now.
    """
    size = file.header.page_size
    with database.open("rb", buffering=0) as opened:
        differing = {
            pgno
            for pgno in set(file.pages).difference(later)
            if os.pread(opened.fileno(), size, (pgno - 1) * size) not in {b"", file.page(pgno)}
        }
    return not differing or not differing.difference(_pages_in_log(database, size))


def _pages_in_log(database: Path, page_size: int) -> set[int]:
    published = read_published(database)
    frame_bytes = _FRAME_HEADER_BYTES + page_size
    with database.with_name(f"{database.name}-wal").open("rb", buffering=0) as wal:
        end = published.offset if published else os.fstat(wal.fileno()).st_size
        heads = (
            os.pread(wal.fileno(), _PGNO.size, offset)
            for offset in range(_WAL_HEADER_BYTES, end, frame_bytes)
        )
        return {_PGNO.unpack(head)[0] for head in heads if len(head) == _PGNO.size}
