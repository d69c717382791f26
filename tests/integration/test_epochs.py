"""Epochs on a real S3 server: opened once in the world, and never over something else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import DamagedObject, Fenced, ObjectNotFound, PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import (
    EpochMarker,
    Parent,
    list_replicas,
    newest_epoch,
    open_epoch,
    read_epoch,
    read_epochs,
)
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.opening import Opened, Presence, settle
from obelisk_ops.supervise.ownership import File
from obelisk_ops.supervise.sidecar import Sidecar

FIRST = EpochMarker(
    epoch=1, parent=None, database_id=None, host="here", inode=7, opened_at_ms=1, owner="mine"
)
PRESENCE = Presence(boot_id="boot", socket="/run/s.sock", pid=1, now_ms=1)


@pytest.fixture
def keys(replica: ReplicaSettings) -> ReplicaKeys:
    return ReplicaKeys(prefix=replica.prefix, name="db")


def open_for(
    store: ObjectStore, keys: ReplicaKeys, *files: tuple[Path, File]
) -> list[Opened | BaseException]:
    """Settle several files at once, each from a machine of its own."""

    async def all_at_once() -> list[Opened | BaseException]:
        settling = (
            settle(Bucket(lambda: store, SystemClock()), keys, file, Sidecar(path), PRESENCE)
            for path, file in files
        )
        return await asyncio.gather(*settling, return_exceptions=True)

    return asyncio.run(all_at_once())


def test_a_marker_is_read_as_it_was_written(store: ObjectStore, keys: ReplicaKeys) -> None:
    assert newest_epoch(store, keys) is None
    second = replace(FIRST, epoch=2, parent=Parent(epoch=1, txid=40), database_id="d")

    open_epoch(store, keys, FIRST)
    open_epoch(store, keys, second)

    assert read_epochs(store, keys) == [FIRST, second]
    assert newest_epoch(store, keys) == second
    assert list_replicas(store, keys.prefix) == ["db"]
    with pytest.raises(ObjectNotFound):
        read_epoch(store, keys, 3)


def test_an_epoch_is_opened_once(store: ObjectStore, keys: ReplicaKeys) -> None:
    open_epoch(store, keys, FIRST)

    with pytest.raises(PreconditionFailed):
        open_epoch(store, keys, replace(FIRST, owner="theirs"))

    open_epoch(store, keys, FIRST)  # our own, whose answer was lost
    assert read_epochs(store, keys) == [FIRST]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"epoch": "x"}', b"\xff\xfe"])
def test_a_marker_that_cannot_be_read_is_an_error(
    content: bytes, store: ObjectStore, keys: ReplicaKeys
) -> None:
    store.put(keys.marker(1), content)

    with pytest.raises(DamagedObject, match=r"e0001\.json cannot be read"):
        read_epochs(store, keys)


def test_a_marker_under_the_wrong_number_is_an_error(
    store: ObjectStore, keys: ReplicaKeys
) -> None:
    open_epoch(store, keys, FIRST)
    store.put(keys.marker(2), store.get(keys.marker(1)).body)

    with pytest.raises(DamagedObject, match="speaks of epoch 1"):
        newest_epoch(store, keys)


def test_machines_that_open_at_once_get_an_epoch_each(
    store: ObjectStore, keys: ReplicaKeys, tmp_path: Path
) -> None:
    files = [
        (tmp_path / f"{host}.db", File(name="db", host=host, inode=7))
        for host in ("a", "b", "c")
    ]

    opened = open_for(store, keys, *files)

    owners = [found.owner for found in opened if isinstance(found, Opened)]
    assert sorted(owner.epoch for owner in owners) == [1, 2, 3]
    by_epoch = {marker.epoch: marker.owner for marker in read_epochs(store, keys)}
    assert by_epoch == {owner.epoch: owner.owner for owner in owners}


def test_the_same_file_goes_on_and_an_outdated_one_is_refused(
    store: ObjectStore, keys: ReplicaKeys, tmp_path: Path
) -> None:
    here = (tmp_path / "here.db", File(name="db", host="here", inode=7))
    there = (tmp_path / "there.db", File(name="db", host="there", inode=9))

    for expected in ((1, True), (1, False)):
        (opened,) = open_for(store, keys, here)
        assert isinstance(opened, Opened)
        assert (opened.owner.epoch, opened.is_new) == expected
    open_for(store, keys, there)
    (refused,) = open_for(store, keys, here)

    assert isinstance(refused, Fenced)
    assert refused.message == "epoch 2 was opened by there; this file belongs to epoch 1"
    assert [marker.epoch for marker in read_epochs(store, keys)] == [1, 2]


def test_a_file_that_was_set_back_gets_an_epoch_of_its_own(
    store: ObjectStore, keys: ReplicaKeys, tmp_path: Path
) -> None:
    here = (tmp_path / "here.db", File(name="db", host="here", inode=7))
    open_for(store, keys, here)
    for txid in (1, 2, 3):
        store.put(f"{keys.level(1, 0)}{txid:016x}-{txid:016x}.ltx", b"shipped")
    before = [marker.epoch for marker in read_epochs(store, keys)]

    (healed,) = open_for(store, keys, here)  # Litestream's files are gone
    folder = Sidecar(here[0]).meta(1) / "ltx" / "0"
    folder.mkdir(parents=True)
    (folder / f"{2:016x}-{2:016x}.ltx").touch()
    (branched,) = open_for(store, keys, here)
    (goes_on,) = open_for(store, keys, here)

    found = [
        (o.owner.epoch, o.is_new) for o in (healed, branched, goes_on) if isinstance(o, Opened)
    ]
    assert before == [1]
    assert found == [(1, False), (2, True), (2, False)]
    assert read_epochs(store, keys)[-1].parent == Parent(epoch=1, txid=2)


def test_objects_that_nobody_marked_are_left_alone(
    store: ObjectStore, keys: ReplicaKeys, tmp_path: Path
) -> None:
    store.put(f"{keys.level(1, 0)}0000000000000001-0000000000000001.ltx", b"someone's")

    (refused,) = open_for(store, keys, (tmp_path / "a.db", File(name="db", host="h", inode=7)))

    assert isinstance(refused, Fenced)
    assert "no marker says whose it is" in refused.message
    assert read_epochs(store, keys) == []


@pytest.mark.fault(31)
def test_what_litestream_kept_of_another_history_is_removed(
    store: ObjectStore, keys: ReplicaKeys, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    stale = Sidecar(path).meta(1) / "ltx" / "0" / "x.ltx"
    stale.parent.mkdir(parents=True)
    stale.touch()

    open_for(store, keys, (path, File(name="db", host="h", inode=7)))

    assert not stale.exists()
