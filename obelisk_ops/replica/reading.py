"""Fetching a replica from the bucket: its listing, and exact times where they are needed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from obelisk_ops.errors import DamagedObject, ObjectNotFound, ReplicaNotFound
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, Point, Replica, build, ltx_file
from obelisk_ops.replica.epochs import read_epochs
from obelisk_ops.replica.layout import ReplicaKeys

_EPOCH = re.compile(r"e([0-9]{4,})")
_THREADS = 16

#: A header that is this far ahead of the object's arrival was written by a wrong clock;
#: listings are in whole seconds, and clocks are allowed to differ a little.
_CLOCK_TOLERANCE_MS = 60_000


def read_replica(store: ObjectStore, keys: ReplicaKeys) -> Replica:
    """
    List a replica and work out what can be restored from it.

    Raises:
        ReplicaNotFound: There is neither a marker nor an LTX file.
        DamagedObject: A marker cannot be read.
    """
    markers = read_epochs(store, keys)
    epochs = {marker.epoch for marker in markers} | _folders(store, keys)
    files = {epoch: list_epoch(store, keys, epoch) for epoch in sorted(epochs)}
    if not markers and not any(files.values()):
        raise ReplicaNotFound(
            f"the bucket holds no backup named '{keys.name}'",
            hint="'obelisk-ops replica list' shows the names it holds",
        )
    return build(keys.name, files, markers)


def list_epoch(store: ObjectStore, keys: ReplicaKeys, epoch: int) -> list[LtxFile]:
    """Return the LTX files of one epoch."""
    folder = keys.epoch(epoch)
    listed = (ltx_file(info, epoch=epoch, folder=folder) for info in store.list(folder))
    return [file for file in listed if file is not None]


class PointTimes:
    """
    When points were captured, read from the headers of their files, each once.

    A header is read by a GET of its first 100 bytes. That costs what a HEAD of the
    object's metadata costs, and survives a copy of the bucket that drops metadata.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[str, int] = {}
        self._distrusted: set[str] = set()

    def is_exact(self, point: Point) -> bool:
        """Tell whether the time of a point was read, and is its writer's."""
        return point.file.key in self._known.keys() - self._distrusted

    def at_ms(self, point: Point) -> int:
        """
        Return when a point was captured; by the bucket's clock if the writer's was wrong.

        Raises:
            ObjectNotFound: Its file has been deleted since the listing.
            DamagedObject: Its file is none.
        """
        key = point.file.key
        if key not in self._known:
            stamp = read_header(self._store, point.file).timestamp_ms
            if stamp > point.listed_ms + _CLOCK_TOLERANCE_MS:
                self._distrusted.add(key)
                stamp = point.listed_ms
            self._known[key] = stamp
        return self._known[key]

    def best_ms(self, point: Point) -> int:
        """Return the time that is known so far: as read, else as listed."""
        return self._known.get(point.file.key, point.listed_ms)

    def fetch(self, points: Iterable[Point]) -> None:
        """Read the times of many points at once; what cannot be read stays unknown."""
        wanted = [point for point in points if point.file.key not in self._known]
        if not wanted:
            return
        with ThreadPoolExecutor(max_workers=min(_THREADS, len(wanted))) as pool:
            list(pool.map(self._try, wanted))

    def _try(self, point: Point) -> None:
        try:
            self.at_ms(point)
        except (ObjectNotFound, DamagedObject):
            return


def read_header(store: ObjectStore, file: LtxFile) -> Header:
    """
    Read the header of a file and compare it with its name.

    Raises:
        ObjectNotFound: The file is gone.
        DamagedObject: It is shorter than any LTX file, or its header is not its own.
    """
    if file.size < ltx.SMALLEST_FILE_BYTES:
        # An empty object has no range that could be asked for.
        raise ltx.damaged(file.key, f"it ends after {file.size} bytes")
    fetched = store.get(file.key, first=0, last=ltx.HEADER_BYTES - 1)
    header = ltx.parse_header(fetched.body, file.key)
    name = ltx.Name(level=file.level, min_txid=file.min_txid, max_txid=file.max_txid)
    ltx.check_header(header, name, file.key)
    return header


def _folders(store: ObjectStore, keys: ReplicaKeys) -> set[int]:
    found = (_EPOCH.fullmatch(folder) for folder in store.folders(keys.root))
    return {int(epoch.group(1)) for epoch in found if epoch}
