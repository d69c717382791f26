"""
LTX files, as Litestream names and begins them.

    0000/0000000000000007-0000000000000009.ltx    level, first and last transaction

Numbers in names are hexadecimal; outside this module they are decimal. The
header and the trailer have fixed sizes, so both can be read with a ranged GET;
only Litestream itself reads what lies between.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from obelisk_ops.errors import DamagedObject

HEADER_BYTES = 100
TRAILER_BYTES = 16

#: Header, the empty page that ends the pages, an empty index and its size, trailer.
SMALLEST_FILE_BYTES = HEADER_BYTES + 6 + 1 + 8 + TRAILER_BYTES

_MAGIC = b"LTX1"
_HEADER = struct.Struct(">4sIIIQQqQqqIIQ")
_TRAILER = struct.Struct(">QQ")
_NAME = re.compile(r"([0-9a-f]{4})/([0-9a-f]{16})-([0-9a-f]{16})\.ltx")
_PAGE_SIZES = frozenset(1 << bits for bits in range(9, 17))
_CHECKSUM_FLAG = 1 << 63
_NOTE = "litestream-timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """What the name of a file says: its level, and its first and last transaction."""

    level: int
    min_txid: int
    max_txid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """
    The beginning of a file.

    Attributes:
        page_size: Bytes of a database page.
        commit: Pages of the database after the last transaction of the file.
        min_txid: First transaction.
        max_txid: Last transaction.
        timestamp_ms: When the last transaction was captured; UTC milliseconds, by the
            clock of the machine that wrote the file.
        wal_offset: Where in the write-ahead log its first frame was; 0 if it was made of
            other files.
        wal_size: Bytes of the log that it was read from.
        salts: The log it was read from; it gets others whenever it is begun anew.
    """

    page_size: int
    commit: int
    min_txid: int
    max_txid: int
    timestamp_ms: int
    wal_offset: int = 0
    wal_size: int = 0
    salts: tuple[int, int] = (0, 0)

    @property
    def wal_end(self) -> int:
        """Where in the log the next file begins."""
        return self.wal_offset + self.wal_size

    @property
    def database_bytes(self) -> int:
        """The size of the database after the last transaction."""
        return self.page_size * self.commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """The end of a file; only ``file_checksum`` is set by Litestream."""

    post_apply_checksum: int
    file_checksum: int


def parse_name(key: str) -> Name | None:
    """Return what a key, counted from its epoch's folder, says; None if it is no LTX file."""
    found = _NAME.fullmatch(key)
    if found is None:
        return None
    level, first, last = (int(part, 16) for part in found.groups())
    if not 0 < first <= last:
        return None
    return Name(level=level, min_txid=first, max_txid=last)


def file_name(name: Name) -> str:
    """Return the key of a file, counted from its epoch's folder."""
    return f"{name.level:04x}/{hex_txid(name.min_txid)}-{hex_txid(name.max_txid)}.ltx"


def hex_txid(txid: int) -> str:
    """Return a transaction the way Litestream wants it: 16 hexadecimal digits."""
    return f"{txid:016x}"


def parse_header(data: bytes, key: str) -> Header:
    """
    Read the first HEADER_BYTES of a file.

    Args:
        data: At least those bytes.
        key: The object they come from, for the message.

    Raises:
        DamagedObject: They are not the beginning of an LTX file.
    """
    if len(data) < HEADER_BYTES:
        raise damaged(key, f"it ends after {len(data)} bytes")
    magic, _flags, page_size, commit, first, last, timestamp, _pre, *wal = _HEADER.unpack_from(
        data
    )
    if magic != _MAGIC:
        raise damaged(key, "it does not begin like an LTX file")
    if page_size not in _PAGE_SIZES:
        raise damaged(key, f"its header has an impossible page size of {page_size}")
    if not 0 < first <= last:
        raise damaged(key, f"its header names the transactions {first} to {last}")
    return Header(
        page_size=page_size,
        commit=commit,
        min_txid=first,
        max_txid=last,
        timestamp_ms=timestamp,
        wal_offset=wal[0],
        wal_size=wal[1],
        salts=(wal[2], wal[3]),
    )


def check_header(header: Header, name: Name, key: str) -> None:
    """
    Compare a header with the name of its file.

    Raises:
        DamagedObject: They name different transactions.
    """
    if (header.min_txid, header.max_txid) != (name.min_txid, name.max_txid):
        raise damaged(
            key, f"its header names the transactions {header.min_txid} to {header.max_txid}"
        )


def parse_trailer(data: bytes, key: str) -> Trailer:
    """
    Read the last TRAILER_BYTES of a file.

    Raises:
        DamagedObject: They are not the end of an LTX file.
    """
    if len(data) != TRAILER_BYTES:
        raise damaged(key, "it has no trailer")
    post_apply, checksum = _TRAILER.unpack(data)
    if not checksum & _CHECKSUM_FLAG:
        raise damaged(key, "its trailer holds no checksum")
    return Trailer(post_apply_checksum=post_apply, file_checksum=checksum)


def noted_ms(metadata: Mapping[str, str]) -> int | None:
    """Return the time that Litestream notes beside an object, that of its header, if it did."""
    try:
        noted = datetime.fromisoformat(metadata[_NOTE])
    except (KeyError, ValueError):
        return None
    return round(noted.timestamp() * 1000) if noted.tzinfo else None


def damaged(key: str, why: str) -> DamagedObject:
    """Return the error that says of an object why it cannot be used."""
    return DamagedObject(
        f"the object {key} is damaged: {why}",
        hint="restore points that do not need it are not affected; "
        "see 'obelisk-ops replica points NAME'",
    )
