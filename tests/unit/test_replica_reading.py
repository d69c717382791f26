"""Reading a replica: what is asked of the bucket, and whose clock is believed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec
import pytest

from obelisk_ops.core.clock import iso
from obelisk_ops.errors import DamagedObject, ObjectNotFound, ReplicaNotFound
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.ltx import Name
from obelisk_ops.objectstore import Fetched, ObjectInfo, ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, Parent
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import read_header, read_replica
from obelisk_ops.replica.times import PointTimes
from tests.buckets import MemoryStore

KEYS = ReplicaKeys(prefix="p", name="run")
ARRIVED = 1_000_000


#: From so many objects on the notes beside them are asked for.
MANY = 1_000


class Bucket:
    """A store of a few objects that counts what is read."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []
        self.looks: list[str] = []
        self.noted: dict[str, dict[str, str]] = {}

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return (self._info(key) for key in sorted(self.objects) if key.startswith(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        inside = [key.removeprefix(prefix) for key in self.objects if key.startswith(prefix)]
        return iter(sorted({rest.partition("/")[0] for rest in inside if "/" in rest}))

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        self.reads.append(key)
        if key not in self.objects:
            raise ObjectNotFound(key)
        whole = self.objects[key]
        body = whole[first or 0 : None if last is None else last + 1]
        return Fetched(body=body, info=self._info(key), metadata={})

    def beginnings(self, keys: Sequence[str], size: int) -> dict[str, bytes]:
        self.reads += keys
        return {key: self.objects[key][:size] for key in keys if key in self.objects}

    def notes(self, keys: Sequence[str]) -> dict[str, dict[str, str]]:
        self.looks += keys
        return {key: self.noted.get(key, {}) for key in keys if key in self.objects}

    def _info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key=key, size=len(self.objects[key]), modified_ms=ARRIVED, etag='"x"')


def add(bucket: Bucket, txid: int, *, at_ms: int, named: int | None = None) -> str:
    header = struct.pack(">4sIIIQQq", b"LTX1", 2, 1024, 10, txid, txid, at_ms)
    name = Name(level=0, min_txid=named or txid, max_txid=named or txid)
    key = KEYS.epoch(1) + ltx.file_name(name)
    bucket.objects[key] = header.ljust(ltx.SMALLEST_FILE_BYTES, b"\0")
    return key


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def store(bucket: Bucket) -> ObjectStore:
    return cast("ObjectStore", bucket)


def test_nothing_there_is_no_replica(store: ObjectStore) -> None:
    with pytest.raises(ReplicaNotFound, match="'run'"):
        read_replica(store, KEYS)


def test_a_marker_alone_is_a_replica_without_points(bucket: Bucket, store: ObjectStore) -> None:
    marker = EpochMarker(
        epoch=1, parent=None, database_id=None, host="h", inode=1, opened_at_ms=0, owner="o"
    )
    bucket.objects[KEYS.marker(1)] = msgspec.json.encode(marker)

    found = read_replica(store, KEYS)

    assert (found.points, found.owner) == ((), "h")


def test_files_without_their_marker_are_found(bucket: Bucket, store: ObjectStore) -> None:
    add(bucket, 1, at_ms=5)
    bucket.objects[KEYS.epoch(1) + "notes.txt"] = b"not ours"

    found = read_replica(store, KEYS)

    assert [(p.epoch, p.txid) for p in found.points] == [(1, 1)]
    assert bucket.reads == []


def test_times_are_read_once_and_only_if_asked(bucket: Bucket, store: ObjectStore) -> None:
    for txid in (1, 2, 3):
        add(bucket, txid, at_ms=ARRIVED - 10 * txid)
    points = read_replica(store, KEYS).points
    times = PointTimes(store)
    assert times.best_ms(points[1]) == ARRIVED
    assert not times.is_exact(points[1])

    times.fetch(points[:2])
    times.fetch(points[:2])

    assert [times.best_ms(p) for p in points] == [ARRIVED - 10, ARRIVED - 20, ARRIVED]
    assert [times.is_exact(p) for p in points] == [True, True, False]
    assert len(bucket.reads) == 2


@pytest.mark.parametrize(
    ("noted", "looks", "reads"),
    [
        pytest.param(MANY, MANY, 0, id="what is noted beside each is believed"),
        pytest.param(MANY - 5, MANY, 5, id="what is not noted is read"),
        pytest.param(0, 32, MANY, id="where nothing is noted, hardly anybody asks"),
    ],
)
def test_of_very_many_objects_the_notes_are_asked_for(
    bucket: Bucket, store: ObjectStore, noted: int, looks: int, reads: int
) -> None:
    for txid in range(1, MANY + 1):
        key = add(bucket, txid, at_ms=ARRIVED - txid)
        if txid <= noted:
            bucket.noted[key] = {"litestream-timestamp": iso(ARRIVED - txid)}
    points = read_replica(store, KEYS).points
    times = PointTimes(store)

    times.fetch(points)

    assert [times.at_ms(point) for point in points] == [ARRIVED - p.txid for p in points]
    assert (len(bucket.looks), len(bucket.reads)) == (looks, reads)


@pytest.mark.parametrize(
    "noted", [{}, {"litestream-timestamp": "yesterday"}, {"litestream-timestamp": "2026-01-01"}]
)
def test_a_note_that_tells_no_moment(noted: dict[str, str]) -> None:
    assert ltx.noted_ms(noted) is None


@pytest.mark.parametrize(
    ("written", "believed", "exact"),
    [
        (ARRIVED - 3_600_000, ARRIVED - 3_600_000, True),  # arrived after an outage
        (ARRIVED + 900, ARRIVED + 900, True),  # listings are in whole seconds
        (ARRIVED + 86_400_000, ARRIVED, False),  # the writer's clock was a day ahead
    ],
)
def test_a_time_long_after_its_arrival_is_not_believed(
    bucket: Bucket, store: ObjectStore, *, written: int, believed: int, exact: bool
) -> None:
    add(bucket, 1, at_ms=written)
    (point,) = read_replica(store, KEYS).points
    times = PointTimes(store)

    assert times.at_ms(point) == believed
    assert times.is_exact(point) is exact


def test_what_cannot_be_read_stays_as_listed(bucket: Bucket, store: ObjectStore) -> None:
    keys = [add(bucket, txid, at_ms=7) for txid in (1, 2, 3)]
    points = read_replica(store, KEYS).points
    bucket.objects[keys[0]] = b"damaged" * 40
    del bucket.objects[keys[1]]
    times = PointTimes(store)

    times.fetch(points)

    assert [times.is_exact(point) for point in points] == [False, False, True]


def test_a_file_under_a_name_that_is_not_its_own(bucket: Bucket, store: ObjectStore) -> None:
    key = add(bucket, 7, at_ms=5, named=1)
    (point,) = read_replica(store, KEYS).points

    with pytest.raises(DamagedObject) as refusal:
        read_header(store, point.file)

    assert key in refusal.value.message
    assert "transactions 7 to 7" in refusal.value.message


def test_an_empty_file_is_damaged_and_not_asked_for(bucket: Bucket, store: ObjectStore) -> None:
    bucket.objects[add(bucket, 1, at_ms=5)] = b""
    (point,) = read_replica(store, KEYS).points

    with pytest.raises(DamagedObject, match="ends after 0 bytes"):
        read_header(store, point.file)
    assert bucket.reads == []


class Opening(MemoryStore):
    """One in which another machine opens an epoch, and ships, before request number so many."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self._before = before
        self._open(1, None)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        if len(self.asked) == self._before:
            self._before = -1
            self._open(2, Parent(epoch=1, txid=1))
        return super().list(prefix, after=after)

    def _open(self, epoch: int, parent: Parent | None) -> None:
        marker = EpochMarker(
            epoch=epoch, parent=parent, database_id=None, host="h", inode=1, opened_at_ms=0,
            owner=f"owner {epoch}",
        )  # fmt: skip
        self.objects[KEYS.marker(epoch)] = msgspec.json.encode(marker)
        for txid in (1, 2):
            self.objects[f"{KEYS.level(epoch, 0)}{txid:016x}-{txid:016x}.ltx"] = b"shipped"


@pytest.mark.parametrize("before", range(5))
def test_an_epoch_that_is_opened_meanwhile_is_seen_with_where_it_branched_or_not_at_all(
    before: int,
) -> None:
    replica = read_replica(cast("ObjectStore", Opening(before)), KEYS)

    newest = replica.epochs[-1]
    assert newest.marker is not None
    lineage = [(point.epoch, point.txid) for point in replica.lineage]
    assert lineage in ([(1, 1), (1, 2)], [(1, 1), (2, 1), (2, 2)]), "never what was left behind"
