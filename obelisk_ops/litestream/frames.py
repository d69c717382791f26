"""
What lies between the header and the trailer of an LTX file: pages, and where they are.

    header | frame … frame | six zero bytes | index | size of the index | trailer

A frame is a page: its number (4 bytes), flags (2), the size of what follows (4), and the
page as one LZ4 block. Frames lie in the order of their numbers with nothing in between. The
index names them in that order: number, offset and size of each, as varints; a zero ends it.
The checksum in the trailer is that of the file with every page uncompressed.

Source: github.com/superfly/ltx, encoder.go of version 0.5.2, which Litestream 0.5.17 uses.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import lz4.block
from fastcrc import crc64

from obelisk_ops.litestream.ltx import (
    HEADER_BYTES,
    TRAILER_BYTES,
    damaged,
    parse_header,
    parse_trailer,
)

#: what comes behind the index: its size, and the trailer
INDEX_TAIL_BYTES = 8 + TRAILER_BYTES

#: SQLite locks this byte and never stores anything on its page; no file holds that page
_PENDING_BYTE = 1 << 30
_FRAME = struct.Struct(">IHI")
_FLAG_SIZED = 1
_END_OF_FRAMES = bytes(6)
_CHECKSUM_FLAG = 1 << 63
_ALIGNMENTS = 3
_VARINT_BITS = 63


class Frame(NamedTuple):
    """Where a page is: the frame's offset in the file, and its size in bytes."""

    pgno: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """
    A run of neighbouring index entries, 12 bytes each.

    Attributes:
        start: Offset in the file of its first entry.
        end: Offset behind its last entry.
        pages: The numbers of the pages, rising.
        offsets: The offsets of their frames, and the end of the last one.
    """

    start: int
    end: int
    pages: array[int]
    offsets: array[int]

    def find(self, pgno: int) -> Frame | None:
        """Return where a page is, if it is among these."""
        place = bisect_left(self.pages, pgno)
        if place == len(self.pages) or self.pages[place] != pgno:
            return None
        offset = self.offsets[place]
        return Frame(pgno, offset, self.offsets[place + 1] - offset)


def lock_page(page_size: int) -> int:
    """Return the number of the page that is never stored."""
    return _PENDING_BYTE // page_size + 1


def find_index(tail: bytes, file_size: int, key: str) -> tuple[int, int]:
    """
    Return where the entries of the index begin and end, without the zero behind them.

    Args:
        tail: The end of the file, INDEX_TAIL_BYTES at least.
        file_size: Bytes of the whole file.
        key: The object it comes from, for the message.

    Raises:
        DamagedObject: There is no index.
    """
    parse_trailer(tail[-TRAILER_BYTES:], key)
    size = int.from_bytes(tail[-INDEX_TAIL_BYTES:-TRAILER_BYTES], "big")
    end = file_size - INDEX_TAIL_BYTES - 1
    start = end + 1 - size
    if not HEADER_BYTES + len(_END_OF_FRAMES) <= start <= end:
        raise damaged(key, f"its index cannot have {size} bytes")
    return start, end


def parse_index(data: bytes, at: int, key: str) -> Span:
    """
    Read index entries from the first of them on; what is cut off at the end is left out.

    Args:
        data: Bytes of the index that begin with an entry.
        at: Their offset in the file.
        key: The object they come from, for the message.

    Raises:
        DamagedObject: They are not in the order in which Litestream writes them.
    """
    span = _span(*_numbers(data, key), at, skipped=0)
    if span is None:
        raise damaged(key, "its index is out of order")
    return span


def parse_index_part(data: bytes, at: int, key: str) -> Span:
    """
    Read index entries from anywhere on; what is cut off at both ends is left out.

    Frames lie side by side, so only one way to read the numbers makes sense.

    Raises:
        DamagedObject: No way does, or the part is too short to tell.
    """
    numbers, ends = _numbers(data, key)
    found = [_span(numbers, ends, at, skipped) for skipped in range(1, _ALIGNMENTS + 1)]
    fitting = [span for span in found if span is not None and len(span.pages) > 1]
    if len(fitting) != 1:
        raise damaged(key, f"its index cannot be read at {at}")
    return fitting[0]


def frames_in(data: bytes, at: int) -> Iterator[Frame]:
    """Yield the whole frames in bytes that begin with one; *at* is their offset in the file."""
    place = 0
    while place + _FRAME.size <= len(data):
        pgno, _flags, packed = _FRAME.unpack_from(data, place)
        size = _FRAME.size + packed
        if place + size > len(data):
            return
        yield Frame(pgno, at + place, size)
        place += size


def decode_page(data: bytes | memoryview, frame: Frame, page_size: int, key: str) -> bytes:
    """
    Return the page of a frame.

    Raises:
        DamagedObject: *data* is not that frame, or holds no page of this size. A change that
            leaves both true is found by the checksum of the file alone.
    """
    if len(data) != frame.size or frame.size <= _FRAME.size:
        raise damaged(key, f"it ends in the middle of page {frame.pgno}")
    expected = (frame.pgno, _FLAG_SIZED, frame.size - _FRAME.size)
    if _FRAME.unpack_from(data) != expected:
        raise damaged(key, f"page {frame.pgno} is not where its index says")
    return _unpack(data[_FRAME.size :], frame.pgno, page_size, key)


class LtxReader:
    """
    Reads a whole file from front to back and proves it.

    Attributes:
        header: Its header.
    """

    def __init__(self, chunks: Iterable[bytes], key: str) -> None:
        """
        Read the header.

        Args:
            chunks: The bytes of the file in order, in parts of any size.
            key: The object they come from, for messages.

        Raises:
            DamagedObject: They do not begin like an LTX file.
        """
        self._key = key
        self._chunks = iter(chunks)
        self._buffer = b""
        self._place = 0
        self._read = 0
        self._checksum: int | None = None
        head = self._take(HEADER_BYTES)
        self.header = parse_header(head, key)
        self._hash(head)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """
        Yield the number and content of every page.

        The file is proven when the last one was taken and the iterator has ended.

        Raises:
            DamagedObject: The file is not as Litestream wrote it, for any reason.
        """
        index = bytearray()
        last = 0
        while (frame := self._next_frame()) is not None:
            pgno, packed = frame
            self._check_order(pgno, last)
            page = _unpack(packed, pgno, self.header.page_size, self._key)
            self._hash(page)
            size = _FRAME.size + len(packed)
            for number in (pgno, self._read - size, size):
                index += _varint(number)
            last = pgno
            yield pgno, page
        if self._is_snapshot and last != self._last_stored():
            raise damaged(self._key, f"it ends with page {last} of {self.header.commit}")
        self._finish(bytes(index) + b"\0")

    @property
    def _is_snapshot(self) -> bool:
        return self.header.min_txid == 1

    def _next_frame(self) -> tuple[int, bytes] | None:
        head = self._take(len(_END_OF_FRAMES))
        self._hash(head)
        if head == _END_OF_FRAMES:
            return None
        size = self._take(4)
        self._hash(size)
        pgno, flags, packed_size = _FRAME.unpack(head + size)
        if flags != _FLAG_SIZED or packed_size > 2 * self.header.page_size:
            raise damaged(self._key, f"page {pgno} has an impossible head")
        return pgno, self._take(packed_size)

    def _check_order(self, pgno: int, last: int) -> None:
        following = last + 1
        if following == lock_page(self.header.page_size):
            following += 1
        in_order = pgno == following if self._is_snapshot else pgno > last
        if not in_order or pgno > self.header.commit:
            raise damaged(self._key, f"page {pgno} comes behind page {last}")

    def _last_stored(self) -> int:
        commit = self.header.commit
        return commit - 1 if commit == lock_page(self.header.page_size) else commit

    def _finish(self, index: bytes) -> None:
        rest = self._buffer[self._place :] + b"".join(self._chunks)
        trailer = parse_trailer(rest[-TRAILER_BYTES:], self._key)
        if rest[:-TRAILER_BYTES] != index + len(index).to_bytes(8, "big"):
            raise damaged(self._key, "its index does not fit its pages")
        self._hash(rest[:-8])
        if (self._checksum or 0) | _CHECKSUM_FLAG != trailer.file_checksum:
            raise damaged(self._key, "its checksum does not fit its content")

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._place < size:
            more = next(self._chunks, None)
            if more is None:
                raise damaged(self._key, f"it ends after {self._read} bytes")
            self._buffer, self._place = self._buffer[self._place :] + more, 0
        taken = self._buffer[self._place : self._place + size]
        self._place += size
        self._read += size
        return taken

    def _hash(self, data: bytes) -> None:
        self._checksum = crc64.go_iso(data, self._checksum)


def _unpack(packed: bytes | memoryview, pgno: int, page_size: int, key: str) -> bytes:
    try:
        page: bytes = lz4.block.decompress(packed, uncompressed_size=page_size)
    except lz4.block.LZ4BlockError as wrong:
        raise damaged(key, f"page {pgno} cannot be unpacked: {wrong}") from None
    if len(page) != page_size:
        raise damaged(key, f"page {pgno} has {len(page)} bytes instead of {page_size}")
    return page


def _numbers(data: bytes, key: str) -> tuple[list[int], list[int]]:
    """Return the varints in *data*, and where each ends."""
    numbers, ends = [], []
    value = shift = 0
    for place, byte in enumerate(data, 1):
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            if shift > _VARINT_BITS:
                raise damaged(key, "its index holds an endless number")
        else:
            numbers.append(value)
            ends.append(place)
            value = shift = 0
    return numbers, ends


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _span(numbers: list[int], ends: list[int], at: int, skipped: int) -> Span | None:
    """Return what the numbers behind the first *skipped* say; None if that makes no sense."""
    last = skipped + max(len(numbers) - skipped, 0) // 3 * 3
    if last == skipped:
        return None if skipped else Span(start=at, end=at, pages=array("I"), offsets=array("Q"))
    pages, offsets, sizes = (numbers[first:last:3] for first in range(skipped, skipped + 3))
    reach = [offset + size for offset, size in zip(offsets, sizes, strict=True)]
    if any(low >= high for low, high in pairwise(pages)):
        return None
    if offsets[1:] != reach[:-1] or 0 in sizes:
        return None
    try:
        return Span(
            start=at + (ends[skipped - 1] if skipped else 0),
            end=at + ends[last - 1],
            pages=array("I", pages), offsets=array("Q", [*offsets, reach[-1]]),
        )  # fmt: skip
    except OverflowError:
        return None
