"""
What is on this disk and not yet in a file that Litestream ships.

Every file of level 0 says how far into the WAL it reaches. What is committed
behind that point was acknowledged to somebody and exists here alone.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

_LTX_HEADER = struct.Struct(">4s12xQQq8xqqII")
_LTX_MAGIC = b"LTX1"
_WAL_HEADER = struct.Struct(">IIIIII")
_WAL_HEADER_SIZE = 32
_FRAME_HEADER = struct.Struct(">IIII")
_FRAME_HEADER_SIZE = 24
_SALTS = struct.Struct(">II")
_LOOK_BACK = 8
_WAL_MAGICS = (0x377F0682, 0x377F0683)
#: The head of that index, kept twice: whether it is valid, page size, frames, salts as they
#: are in the WAL.
_INDEX_HEAD = struct.Struct("=12xBxHI12x8s8x")
_PAGE_SIZE_64K = 1
#: Of the index of the WAL (-shm): how many frames it has, how many of them are in the file.
_INDEX_FRAMES = struct.Struct("=16xI76xI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """
    How far the newest file of level 0 reaches.

    Attributes:
        txid: Its last transaction.
        at_ms: When Litestream wrote it; UTC milliseconds.
        wal_end: The offset in the WAL behind its last frame.
        salts: The WAL it was read from.
    """

    txid: int
    at_ms: int
    wal_end: int
    salts: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """
    Where the committed part of a WAL ends.

    Attributes:
        offset: Behind its last committed frame.
        salts: Which WAL it is: they change when it is begun anew.
    """

    offset: int
    salts: tuple[int, int]

    def is_covered_by(self, shipped: Shipped) -> bool:
        """Tell whether a file of level 0 reaches as far."""
        return shipped.salts == self.salts and shipped.wal_end >= self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Committed WAL that no file of level 0 holds yet."""

    size: int
    commits: int


def level0_folder(meta: Path) -> Path:
    """Return where Litestream keeps its files of level 0."""
    return meta / "ltx" / "0"


def level0_file(meta: Path, txid: int) -> Path:
    """Return the file of level 0 that holds one transaction."""
    return level0_folder(meta) / f"{txid:016x}-{txid:016x}.ltx"


def newest_txid(meta: Path) -> int:
    """Return the last transaction in Litestream's own files, without asking it; 0 if none."""
    return max(_txids(meta), default=0)


def read_shipped(meta: Path, txid: int) -> Shipped | None:
    """Return how far the file of *txid* reaches; None if it is gone or not an LTX file."""
    try:
        with level0_file(meta, txid).open("rb") as file:
            head = file.read(_LTX_HEADER.size)
        magic, _min, last, at_ms, offset, size, salt1, salt2 = _LTX_HEADER.unpack(head)
    except (OSError, struct.error):
        return None
    if magic != _LTX_MAGIC:
        return None
    return Shipped(txid=last, at_ms=at_ms, wal_end=offset + size, salts=(salt1, salt2))


def last_before_log(meta: Path, salts: tuple[int, int] | None) -> int | None:
    """
    Return the last transaction that was read before the WAL with these salts began.

    None if no file of level 0 is left.
    """
    txids = sorted(_txids(meta))
    for txid in txids:
        shipped = read_shipped(meta, txid)
        if shipped is not None and shipped.salts == salts:
            return txid - 1
    return txids[-1] if txids else None


def read_published(database: Path) -> LogEnd | None:
    """
    Return how far the index knows a WAL, without reading it; None if that cannot be told now.

    It says so twice: the two differ while somebody commits.
    """
    try:
        with database.with_name(f"{database.name}-shm").open("rb", buffering=0) as index:
            head = os.pread(index.fileno(), 2 * _INDEX_HEAD.size, 0)
        is_valid, page_size, frames, salts = _INDEX_HEAD.unpack_from(head)
    except (OSError, struct.error):
        return None
    if not is_valid or head[: _INDEX_HEAD.size] != head[_INDEX_HEAD.size :]:
        return None
    frame_size = _FRAME_HEADER_SIZE + (65_536 if page_size == _PAGE_SIZE_64K else page_size)
    return LogEnd(offset=_WAL_HEADER_SIZE + frames * frame_size, salts=_SALTS.unpack(salts))


def read_log_end(database: Path) -> LogEnd | None:
    """Return how far the WAL is committed; None if it holds nothing, or that is not known."""
    published = read_published(database)
    has_frames = published is not None and published.offset > _WAL_HEADER_SIZE
    return published if has_frames else None


def covering(meta: Path, newest_txid: int, end: LogEnd) -> int | None:
    """
    Return the transaction whose file of level 0 reaches the end of a WAL; None if none does.

    Looked for are the newest ones: a checkpoint begins another WAL behind what was shipped.
    """
    for txid in range(newest_txid, max(newest_txid - _LOOK_BACK, 0), -1):
        shipped = read_shipped(meta, txid)
        if shipped is not None and end.is_covered_by(shipped):
            return txid
    return None


def is_overtaken(database: Path, shipped: Shipped) -> bool:
    """
    Tell whether commits behind *shipped* have left the WAL unread, or may do so any moment.

    A WAL whose frames are all in the database file is begun anew, over its own beginning,
    unless Litestream reads it. If the frame that Litestream read last is still there when it
    is started, version 0.5.17 takes for granted that it was the last one of that WAL; what
    came behind it is never shipped.
    """
    try:
        with database.with_name(f"{database.name}-wal").open("rb", buffering=0) as wal:
            fd = wal.fileno()
            magic, _, page_size, _, *salts = _WAL_HEADER.unpack(os.pread(fd, 24, 0))
            size = _FRAME_HEADER_SIZE + page_size
            ends = [
                _FRAME_HEADER.unpack(os.pread(fd, _FRAME_HEADER.size, shipped.wal_end - back))
                for back in (size, 0)
                if shipped.wal_end - back >= _WAL_HEADER_SIZE
            ]
    except (OSError, struct.error):
        return False  # there is no WAL, or nothing behind what was shipped
    if magic not in _WAL_MAGICS or any(frame[2:] != shipped.salts for frame in ends):
        return False
    return tuple(salts) != shipped.salts or _may_begin_anew(database)


def pages_in_wal(database: Path) -> tuple[int, int] | None:
    """Return how many pages of the WAL are in use, and their bytes; None if there is none."""
    try:
        with database.with_name(f"{database.name}-wal").open("rb", buffering=0) as wal:
            magic, _, page_size, *_ = _WAL_HEADER.unpack(wal.read(_WAL_HEADER.size))
        with database.with_name(f"{database.name}-shm").open("rb", buffering=0) as index:
            frames, _ = _INDEX_FRAMES.unpack(index.read(_INDEX_FRAMES.size))
    except (OSError, struct.error):
        return None
    if magic not in _WAL_MAGICS:
        return None
    return frames, frames * (_FRAME_HEADER_SIZE + page_size)


def _may_begin_anew(database: Path) -> bool:
    try:
        with database.with_name(f"{database.name}-shm").open("rb", buffering=0) as index:
            frames, in_file = _INDEX_FRAMES.unpack(index.read(_INDEX_FRAMES.size))
    except (OSError, struct.error):
        return False
    return bool(frames) and bool(in_file >= frames)


class WalReader:
    """
    Measures the tail of one WAL again and again, reading each frame's head once.

    A frame counts if its salts are those of the WAL's header, and what is
    behind the last commit does not count: it may still be rolled back. Nor does what the
    index does not know: somebody was killed before he had committed it.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._wal = database.with_name(f"{database.name}-wal")
        self._start: tuple[int, int, int] | None = None
        self._end = 0
        self._commits = 0

    def measure(self, shipped: Shipped) -> Tail | None:
        """Return what is committed behind *shipped*; None if the WAL does not tell."""
        try:
            with self._wal.open("rb", buffering=0) as wal:
                return self._measure(wal.fileno(), shipped)
        except (OSError, struct.error):
            return None

    def _measure(self, wal: int, shipped: Shipped) -> Tail | None:
        magic, _, page_size, _, salt1, salt2 = _WAL_HEADER.unpack(
            os.pread(wal, _WAL_HEADER.size, 0)
        )
        if magic not in _WAL_MAGICS:
            return None
        restarted = (salt1, salt2) != shipped.salts
        begin = _WAL_HEADER_SIZE if restarted else max(shipped.wal_end, _WAL_HEADER_SIZE)
        known = read_published(self._database)
        limit = known.offset if known and known.salts == (salt1, salt2) else sys.maxsize
        self._scan(wal, (begin, salt1, salt2), _FRAME_HEADER_SIZE + page_size, limit)
        if restarted and not self._commits:
            return None
        return Tail(size=self._end - begin, commits=self._commits)

    def _scan(self, wal: int, start: tuple[int, int, int], frame_size: int, limit: int) -> None:
        if start != self._start:
            self._start, self._end, self._commits = start, start[0], 0
        offset = self._end
        while offset < limit:
            head = os.pread(wal, _FRAME_HEADER.size, offset)
            if len(head) < _FRAME_HEADER.size:
                return
            _page, commit, salt1, salt2 = _FRAME_HEADER.unpack(head)
            if (salt1, salt2) != start[1:]:
                return
            offset += frame_size
            if commit:
                self._end, self._commits = offset, self._commits + 1


def _txids(meta: Path) -> list[int]:
    try:
        return [txid for f in level0_folder(meta).iterdir() if (txid := _max_txid(f.name))]
    except OSError:
        return []


def _max_txid(name: str) -> int:
    stem, dot, ending = name.partition(".")
    try:
        return int(stem.partition("-")[2], 16) if dot and ending == "ltx" else 0
    except ValueError:
        return 0
