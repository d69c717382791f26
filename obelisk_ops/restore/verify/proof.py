"""Reading one object to its end: its checksum, and a fingerprint of each of its pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.frames import LtxReader
from obelisk_ops.litestream.ltx import Header, Name
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile

#: Objects up to this size are read with one request; larger ones in parts of it.
CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """
    An object that is what Litestream wrote.

    Attributes:
        file: Its place.
        header: Its header.
        pages: Page number → fingerprint of its content; good within this process.
    """

    file: LtxFile
    header: Header
    pages: dict[int, int] = field(repr=False)


def prove(chunks: Iterable[bytes], file: LtxFile) -> Proven:
    """
    Read an object to its end.

    Args:
        chunks: Its bytes in order, in parts of any size.
        file: What the listing says of it.

    Raises:
        DamagedObject: It is not what Litestream wrote under this name.
    """
    reader = LtxReader(chunks, file.key)
    name = Name(level=file.level, min_txid=file.min_txid, max_txid=file.max_txid)
    ltx.check_header(reader.header, name, file.key)
    pages = {number: hash(page) for number, page in reader.pages()}
    return Proven(file=file, header=reader.header, pages=pages)


def chunks_of(store: ObjectStore, file: LtxFile) -> Iterator[bytes]:
    """
    Read an object in parts.

    Raises:
        ObjectNotFound: It is gone.
    """
    for first in range(0, max(file.size, 1), CHUNK_BYTES):
        last = min(first + CHUNK_BYTES, file.size) - 1
        whole = first == 0 and last == file.size - 1
        yield (
            store.get(file.key).body
            if whole or file.size == 0
            else store.get(file.key, first=first, last=last).body
        )
