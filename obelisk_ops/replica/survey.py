"""
All replicas below a prefix, from one listing of everything.

For a bucket of hundreds of backups that is a handful of requests, where a look at each
would be hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from obelisk_ops.objectstore import ObjectInfo, ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, Replica, build, ltx_file
from obelisk_ops.replica.epochs import read_epoch
from obelisk_ops.replica.layout import (
    MARKERS_FOLDER,
    ReplicaKeys,
    epoch_of_folder,
    epoch_of_marker,
    folder,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """
    One replica as the listing shows it.

    Attributes:
        name: The database's name.
        epochs: The epochs that have a marker.
        files: The objects by epoch.
    """

    name: str
    epochs: tuple[int, ...]
    files: dict[int, list[LtxFile]]

    @property
    def mark(self) -> str:
        """What differs as soon as there is a newer state, or another epoch."""
        newest = max(self.files, default=0)
        last = max((file.max_txid for file in self.files.get(newest, ())), default=0)
        return f"{max(self.epochs, default=0)}/{newest}/{last}"


def survey(store: ObjectStore, prefix: str) -> Iterator[Listed]:
    """Return every replica below *prefix* that has a marker or an LTX file."""
    root = folder(prefix)

    def name_of(info: ObjectInfo) -> str:
        return info.key.removeprefix(root).partition("/")[0]

    # Servers that order folder by folder keep those of one name together, too.
    for name, infos in groupby(store.list(root), key=name_of):
        if name != MARKERS_FOLDER:
            listed = _listed(ReplicaKeys(prefix=prefix, name=name), infos)
            if listed.epochs or listed.files:
                yield listed


def read_listed(store: ObjectStore, prefix: str, listed: Listed) -> Replica:
    """
    Work out what can be restored from a replica; a request for each marker.

    Raises:
        DamagedObject: A marker cannot be read.
    """
    keys = ReplicaKeys(prefix=prefix, name=listed.name)
    markers = [read_epoch(store, keys, epoch) for epoch in listed.epochs]
    return build(listed.name, listed.files, markers)


def _listed(keys: ReplicaKeys, infos: Iterator[ObjectInfo]) -> Listed:
    epochs: list[int] = []
    files: dict[int, list[LtxFile]] = {}
    for info in infos:
        place = info.key.removeprefix(keys.root).partition("/")[0]
        if place == MARKERS_FOLDER:
            epoch = epoch_of_marker(info.key)
            epochs += [] if epoch is None else [epoch]
            continue
        epoch = epoch_of_folder(place)
        if epoch is not None:
            file = ltx_file(info, epoch=epoch, folder=keys.epoch(epoch))
            if file is not None:
                files.setdefault(epoch, []).append(file)
    return Listed(name=keys.name, epochs=tuple(sorted(epochs)), files=files)
