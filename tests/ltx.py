"""Writing LTX files as Litestream does, to be read, bent and broken by tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import lz4.block
from fastcrc import crc64

_NO_CHECKSUMS = 2


def varint(number: int) -> bytes:
    """Return a number as Go writes it, seven bits a byte, the lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def encode(
    pages: Mapping[int, bytes],
    *,
    commit: int,
    first: int = 1,
    last: int | None = None,
    log: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> bytes:
    """
    Return a file that holds *pages*, all of one size.

    Args:
        pages: Content by number.
        commit: Pages of the database afterwards.
        first: Its first transaction; 1 for a snapshot.
        last: Its last transaction, the first if None is given.
        log: The part of the log it was read from: offset, size, and the salts.
    """
    page_size = len(next(iter(pages.values())))
    head = struct.pack(
        ">4sIIIQQqQqqIIQ", b"LTX1", _NO_CHECKSUMS, page_size, commit, first,
        first if last is None else last, 1_700_000_000_000, 0, *log, 0,
    )  # fmt: skip
    written, plain, index = bytearray(head.ljust(100, b"\0")), bytearray(), bytearray()
    plain += written
    for pgno, page in sorted(pages.items()):
        packed = lz4.block.compress(page, store_size=False)
        frame = struct.pack(">IHI", pgno, 1, len(packed))
        for number in (pgno, len(written), len(frame) + len(packed)):
            index += varint(number)
        written += frame + packed
        plain += frame + page
    end = bytes(6) + index + b"\0" + struct.pack(">QQ", len(index) + 1, 0)
    checksum = crc64.go_iso(bytes(plain + end)) | 1 << 63
    return bytes(written + end) + struct.pack(">Q", checksum)
