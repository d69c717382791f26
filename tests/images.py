"""Backups in memory, to be read in place."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.ltx import Name
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.image import Image
from obelisk_ops.replica.layer import Sizes
from obelisk_ops.replica.layout import ReplicaKeys
from tests.buckets import MemoryStore
from tests.ltx import encode

KEYS = ReplicaKeys(prefix="p", name="run")
#: nothing is fetched whole, and an index in parts
TINY = Sizes(replica=0, tail=200, part=100, part_max=200)


def image_of(path: Path, sizes: Sizes = TINY) -> Image:
    """Return a backup of a database that is at rest, as one snapshot."""
    data = path.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    page_size = 65536 if size == 1 else size
    pages = {
        at // page_size + 1: data[at : at + page_size].ljust(page_size, b"\0")
        for at in range(0, len(data), page_size)
    }
    store = MemoryStore()
    key = KEYS.epoch(1) + ltx.file_name(Name(level=9, min_txid=1, max_txid=1))
    store.objects[key] = encode(pages, commit=len(pages))
    return Image(cast("ObjectStore", store), KEYS, 1, 1, sizes=sizes)
