"""
Whether somebody else writes into our epoch, as far as the listings tell that we make anyway.

Litestream writes without conditions, and believes whatever lies in its folder: a second one
on the same prefix, or a hand that puts objects there, makes a chain that restores to a
mixture, or to nothing. Three things cannot be in an epoch that one Litestream alone writes:

- a transaction behind the last one in its own files: those are written first, then shipped;
- a file of level 0 that is not, byte for byte, the one on this disk. Size and ETag tell; where
  the ETag is no hash of the content (encryption), the checksum at the end of one is read;
- in one level, files that overlap and do not begin together: each begins where the last ended.

Not seen is what was put into a compacted level, lies in what we have shipped, and fits there.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

from obelisk_ops.errors import ObjectNotFound
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.local import level0_file, newest_txid
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """
    Something in an epoch that was not written here.

    Attributes:
        first: The first transaction that may not be what it was.
        why: How that is known, in words.
    """

    first: int
    why: str


def beyond(files: Iterable[LtxFile], newest: int) -> Foreign | None:
    """Look for what lies behind the *newest* transaction on this disk; 0 is "not known"."""
    last = max((file.max_txid for file in files), default=0)
    if not newest or last <= newest:
        return None
    return Foreign(
        first=newest + 1,
        why=f"the bucket holds transaction {last}, this disk ends with {newest}",
    )


def overlapping(files: Iterable[LtxFile]) -> Foreign | None:
    """Look for files of one level that overlap, as those of one writer never do."""
    # Two tries of one compaction begin together; a snapshot always begins with the first.
    ordered = sorted(
        (file for file in files if file.level != SNAPSHOT_LEVEL),
        key=lambda file: (file.level, file.min_txid, file.max_txid),
    )
    for level, here in groupby(ordered, key=lambda file: file.level):
        for before, file in pairwise(here):
            is_doubled = before.min_txid == file.min_txid and level
            if file.min_txid <= before.max_txid and not is_doubled:
                why = f"two files of level {level} hold transaction {file.min_txid}"
                return Foreign(first=before.min_txid, why=why)
    return None


class _Compared:
    """
    Files of level 0 that were compared, by transaction; as many as are not deleted yet.

    There may be a thousand of each of a hundred databases. So of an ETag its hash is kept,
    which nobody can aim at: it differs from process to process. 16 bytes a file, not 200.
    """

    def __init__(self, files: Iterable[LtxFile] = ()) -> None:
        self._txids, self._hashes = array("Q"), array("q")
        for file in files:
            self.add(file)

    def __contains__(self, file: LtxFile) -> bool:
        place = self._place(file)
        return self._is_at(place, file) and self._hashes[place] == hash(file.etag)

    def add(self, file: LtxFile) -> None:
        """Note a file; of one that is known the ETag counts that it has now."""
        place = self._place(file)
        if not self._is_at(place, file):
            self._txids.insert(place, file.max_txid)
            self._hashes.insert(place, 0)
        self._hashes[place] = hash(file.etag)

    def _place(self, file: LtxFile) -> int:
        return bisect_left(self._txids, file.max_txid)

    def _is_at(self, place: int, file: LtxFile) -> bool:
        return place < len(self._txids) and self._txids[place] == file.max_txid


class Sentry:
    """Compares what is listed of one epoch with Litestream's own files on this disk."""

    def __init__(self, meta: Path) -> None:
        self._meta = meta
        self._compared = _Compared()
        self._tells_content = True

    def look(
        self, files: Iterable[LtxFile], store: ObjectStore, *, is_whole: bool, said: int = 0
    ) -> Foreign | None:
        """
        Return what among the listed *files* is not ours; slow, to be called in a thread.

        Args:
            files: The files.
            store: The bucket, asked only where an ETag says too little.
            is_whole: Whether the whole chain was listed.
            said: The last transaction that our Litestream said it has: while somebody
                removes its files, those on this disk tell less than it knows.

        Raises:
            OpsError: The bucket does not answer.
        """
        found = list(files)
        shipped = [file for file in found if file.level == 0]
        # Read after the listing: what is in the bucket then is here.
        here = newest_txid(self._meta)
        return (
            beyond(found, max(here, said) if here else 0)
            or overlapping(found)
            or self._differing(shipped, store, is_whole=is_whole)
        )

    def _differing(
        self, shipped: list[LtxFile], store: ObjectStore, *, is_whole: bool
    ) -> Foreign | None:
        for file in shipped:
            if file in self._compared:
                continue
            if not self._is_ours(file, store):
                why = f"{file.key} is not what was shipped from here"
                return Foreign(first=file.min_txid, why=why)
            self._compared.add(file)
        if is_whole:
            self._compared = _Compared(shipped)
        return None

    def _is_ours(self, file: LtxFile, store: ObjectStore) -> bool:
        if file.min_txid != file.max_txid:
            return False  # of what is shipped each transaction has a file of its own
        here = level0_file(self._meta, file.max_txid)
        try:
            is_as_long = here.stat().st_size == file.size
            told = _MD5.fullmatch(file.etag) if is_as_long and self._tells_content else None
            if told is None:
                return is_as_long
            digest, end = _digest_and_end(here)
        except OSError:
            return True  # it is not kept for ever, and proves nothing any more
        return told[1] == digest or self._has_same_end(file, end, store)

    def _has_same_end(self, file: LtxFile, end: bytes, store: ObjectStore) -> bool:
        try:
            found = store.get(file.key, first=max(file.size - ltx.TRAILER_BYTES, 0))
        except ObjectNotFound:
            return True
        is_same = found.body == end
        self._tells_content = not is_same  # its ETags are no hashes: from now on sizes count
        return is_same


def _digest_and_end(path: Path) -> tuple[str, bytes]:
    """Return the MD5 and the trailer of a file, which is read in parts: it may be large."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
        file.seek(max(file.tell() - ltx.TRAILER_BYTES, 0))
        return digest.hexdigest(), file.read()
