"""
Epochs: the chapters of a replica's history, each written by one owner of one file.

A chapter is opened by creating its marker, which can succeed only once in the
world. A marker is never changed and never deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from obelisk_ops.errors import DamagedObject, ObjectNotFound, PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.layout import MARKERS_FOLDER, ReplicaKeys, epoch_of_marker, folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """
    The point at which an epoch left an older one.

    Attributes:
        epoch: The older epoch.
        txid: Its last transaction that the newer one contains; None when that is not known.
    """

    epoch: int
    txid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMarker:
    """
    Who opened an epoch, and for which file.

    Attributes:
        epoch: Its number; the first is 1.
        parent: Where it branched; None for the first.
        database_id: The id stored in the database, if it stores one. A copy carries the same.
        host: The machine that opened it.
        inode: The file it was opened for.
        opened_at_ms: UTC milliseconds on the opener's clock. For people, never for decisions.
        owner: Drawn at random for this opening, and kept beside the database.
    """

    epoch: int
    parent: Parent | None
    database_id: str | None
    host: str
    inode: int
    opened_at_ms: int
    owner: str


def read_epochs(store: ObjectStore, keys: ReplicaKeys) -> list[EpochMarker]:
    """
    Return the markers of a replica, oldest first; empty if there is no such replica.

    Raises:
        DamagedObject: A marker is not what this program writes.
    """
    found = [epoch_of_marker(info.key) for info in store.list(keys.markers)]
    return [
        read_epoch(store, keys, epoch) for epoch in sorted(e for e in found if e is not None)
    ]


# Made here, once: msgspec learns a type at its first use, and two threads that use it
# first at the same time can crash the process (seen with version 0.22).
_decode_marker = msgspec.json.Decoder(EpochMarker).decode


def read_epoch(store: ObjectStore, keys: ReplicaKeys, epoch: int) -> EpochMarker:
    """
    Return the marker of one epoch.

    Raises:
        ObjectNotFound: The epoch was not opened.
        DamagedObject: The marker is not what this program writes.
    """
    key = keys.marker(epoch)
    try:
        marker = _decode_marker(store.get(key).body)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise DamagedObject(f"the epoch marker {key} cannot be read: {wrong}") from None
    if marker.epoch != epoch:
        raise DamagedObject(f"the epoch marker {key} speaks of epoch {marker.epoch}")
    return marker


def newest_epoch(store: ObjectStore, keys: ReplicaKeys) -> EpochMarker | None:
    """
    Return the newest marker with one LIST and one GET; None if there is no such replica.

    Raises:
        DamagedObject: The marker is not what this program writes.
    """
    found = (epoch_of_marker(info.key) for info in store.list(keys.markers))
    newest = max((epoch for epoch in found if epoch is not None), default=None)
    return None if newest is None else read_epoch(store, keys, newest)


def open_epoch(store: ObjectStore, keys: ReplicaKeys, marker: EpochMarker) -> None:
    """
    Open an epoch, if nobody has.

    An answer may be lost after the marker was written; a marker that turns out
    to be our own counts as success.

    Raises:
        PreconditionFailed: Another owner opened it first; read the epochs again.
    """
    try:
        store.put(keys.marker(marker.epoch), msgspec.json.encode(marker), if_absent=True)
    except PreconditionFailed:
        if not _is_ours(store, keys, marker):
            raise


def list_replicas(store: ObjectStore, prefix: str) -> list[str]:
    """Return the names of the replicas under *prefix*: the folders that hold a marker."""
    names = (name for name in store.folders(folder(prefix)) if name != MARKERS_FOLDER)
    return sorted(name for name in names if has_marker(store, prefix, name))


def has_marker(store: ObjectStore, prefix: str, name: str) -> bool:
    """Tell whether a folder under *prefix* is that of a replica."""
    keys = ReplicaKeys(prefix=prefix, name=name)
    return any(epoch_of_marker(info.key) is not None for info in store.list(keys.markers))


def _is_ours(store: ObjectStore, keys: ReplicaKeys, marker: EpochMarker) -> bool:
    try:
        # An earlier try, which came late, says the same at another time.
        return read_epoch(store, keys, marker.epoch).owner == marker.owner
    except (ObjectNotFound, DamagedObject):
        return False
