"""What cannot be in an epoch that one Litestream alone writes."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from obelisk_ops.errors import ObjectNotFound
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.local import level0_file
from obelisk_ops.objectstore import Fetched, ObjectInfo, ObjectStore
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.supervise.intruders import Sentry, beyond, overlapping

OURS, THEIRS = b"ours" + bytes(16), b"ours" + bytes(15) + b"!"


def listed(level: int, first: int, last: int, content: bytes = OURS, etag: str = "") -> LtxFile:
    return LtxFile(
        epoch=1, level=level, min_txid=first, max_txid=last, modified_ms=0, size=len(content),
        key=f"p/{ltx.file_name(ltx.Name(level=level, min_txid=first, max_txid=last))}",
        etag=etag or f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("files", "newest", "first"),
    [
        pytest.param([], 0, None, id="nothing anywhere"),
        pytest.param([], 3, None, id="nothing shipped yet"),
        pytest.param([listed(0, 3, 3)], 3, None, id="the same"),
        pytest.param([listed(0, 3, 3)], 0, None, id="the files here are gone"),
        pytest.param([listed(0, 3, 3), listed(0, 5, 5)], 3, 4, id="more than there is here"),
        pytest.param([listed(9, 1, 7)], 3, 4, id="a snapshot of more"),
    ],
)
def test_nothing_lies_behind_what_is_here(
    files: Sequence[LtxFile], newest: int, first: int | None
) -> None:
    found = beyond(files, newest)

    assert (found.first if found else None) == first


@pytest.mark.parametrize(
    ("files", "first"),
    [
        pytest.param([listed(0, 1, 1), listed(0, 2, 2), listed(1, 1, 2)], None, id="as it is"),
        pytest.param([listed(9, 1, 2), listed(9, 1, 7)], None, id="two snapshots"),
        pytest.param([listed(1, 5, 9), listed(1, 5, 12)], None, id="one compaction, twice"),
        pytest.param([listed(1, 1, 9), listed(1, 7, 12)], 1, id="one begins in the other"),
        pytest.param([listed(0, 2, 2), listed(0, 2, 5)], 2, id="of what is shipped, too"),
        pytest.param([listed(1, 1, 9), listed(2, 7, 12)], None, id="of different levels"),
    ],
)
def test_files_of_one_level_do_not_overlap(files: Sequence[LtxFile], first: int | None) -> None:
    found = overlapping(files)

    assert (found.first if found else None) == first


def test_files_that_are_being_removed_tell_less_than_litestream_knows(tmp_path: Path) -> None:
    """The newest goes first: what our own Litestream said is no second writer's."""
    sentry, store = keep(tmp_path, 1, 2), cast("ObjectStore", Objects(None))
    files = [listed(0, 1, 1), listed(0, 3, 3)]

    assert sentry.look(files, store, is_whole=True, said=3) is None
    assert sentry.look(files, store, is_whole=True, said=2) is not None


class Objects:
    """A bucket of which only the ends of objects are read; counts how often."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.asked = 0

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        self.asked += 1
        if self.content is None:
            raise ObjectNotFound(f"there is no {key}")
        info = ObjectInfo(key=key, size=len(self.content), modified_ms=0, etag="")
        return Fetched(body=self.content[first:], info=info, metadata={})


def look(sentry: Sentry, store: Objects, *files: LtxFile, is_whole: bool = True) -> int | None:
    found = sentry.look(files, cast("ObjectStore", store), is_whole=is_whole)
    return found.first if found else None


def keep(meta: Path, *txids: int) -> Sentry:
    for txid in txids:
        file = level0_file(meta, txid)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(OURS)
    return Sentry(meta)


def test_what_was_shipped_from_here_is_known_by_its_etag(tmp_path: Path) -> None:
    sentry, store = keep(tmp_path, 1, 2), Objects(None)

    assert look(sentry, store, listed(0, 1, 1), listed(0, 2, 2)) is None
    assert store.asked == 0, "a listing says enough"


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_was_put_over_it_is_found(tmp_path: Path, *, is_whole: bool) -> None:
    sentry, store = keep(tmp_path, 1, 2), Objects(THEIRS)
    look(sentry, store, listed(0, 1, 1), listed(0, 2, 2))

    found = look(sentry, store, listed(0, 2, 2, THEIRS), is_whole=is_whole)

    assert (found, store.asked) == (2, 1)


def test_another_size_needs_no_second_look(tmp_path: Path) -> None:
    sentry, store = keep(tmp_path, 1), Objects(None)

    assert look(sentry, store, listed(0, 1, 1, b"longer" + OURS)) == 1
    assert store.asked == 0


def test_where_an_etag_is_no_hash_it_is_found_out_once(tmp_path: Path) -> None:
    """Encryption by the server makes them so."""
    sentry, store = keep(tmp_path, 1, 2), Objects(OURS)
    encrypted = [listed(0, n, n, etag=f'"{n:032x}"') for n in (1, 2)]

    assert look(sentry, store, *encrypted) is None
    assert look(sentry, store, *encrypted) is None
    assert store.asked == 1


def test_an_etag_of_parts_says_nothing(tmp_path: Path) -> None:
    sentry, store = keep(tmp_path, 1), Objects(None)

    assert look(sentry, store, listed(0, 1, 1, etag=f'"{1:032x}-2"')) is None
    assert store.asked == 0


def test_what_is_gone_when_it_is_read_was_compacted(tmp_path: Path) -> None:
    assert look(keep(tmp_path, 1), Objects(None), listed(0, 1, 1, THEIRS)) is None


def test_what_is_not_here_any_more_proves_nothing(tmp_path: Path) -> None:
    assert look(keep(tmp_path, 2), Objects(None), listed(0, 1, 1, THEIRS)) is None


def test_of_what_is_shipped_each_transaction_has_its_file(tmp_path: Path) -> None:
    assert look(keep(tmp_path, 1, 2), Objects(None), listed(0, 1, 2)) == 1


def test_a_large_file_is_not_read_as_a_whole(tmp_path: Path) -> None:
    """A copy of a whole database is one, and eight threads read at once."""
    sentry, store = keep(tmp_path, 1), Objects(None)
    content = bytes(4 << 20)
    level0_file(tmp_path, 1).write_bytes(content)
    file = listed(0, 1, 1, content)
    tracemalloc.start()
    try:
        found, (_, most) = look(sentry, store, file), tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (found, store.asked) == (None, 0)
    assert most < len(content) // 4
