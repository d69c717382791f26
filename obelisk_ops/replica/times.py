"""When restore points were captured: read from the headers of their files, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from obelisk_ops.errors import DamagedObject, ObjectNotFound
from obelisk_ops.litestream import ltx
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, Point
from obelisk_ops.replica.known import KnownTimes
from obelisk_ops.replica.reading import parse_beginning, read_header

AtOf: TypeAlias = Callable[[Point], int]

#: A header that is this far ahead of the object's arrival was written by a wrong clock;
#: listings are in whole seconds, and clocks are allowed to differ a little.
_CLOCK_TOLERANCE_MS = 60_000
_MANY = 1_000
_SAMPLE = 32


class PointTimes:
    """
    When points were captured.

    A header is read by a GET of its first 100 bytes, which survives a copy of the bucket
    that drops metadata. Of very many objects the metadata is believed where it is there:
    a HEAD costs as much money, and a third less time.
    """

    def __init__(self, store: ObjectStore, known: KnownTimes | None = None) -> None:
        self._store = store
        self._known = known or KnownTimes(None, "")
        self._stamps: dict[str, int] = {}

    def is_exact(self, point: Point) -> bool:
        """Tell whether the time of a point is known, and is its writer's."""
        stamp = self._stamp(point.file)
        return stamp is not None and not _is_from_the_future(point, stamp)

    def at_ms(self, point: Point) -> int:
        """
        Return when a point was captured; by the bucket's clock if the writer's was wrong.

        Raises:
            ObjectNotFound: Its file has been deleted since the listing.
            DamagedObject: Its file is none.
        """
        stamp = self._stamp(point.file)
        if stamp is None:
            stamp = read_header(self._store, point.file).timestamp_ms
            self._learn(point.file, stamp)
        return _believed(point, stamp)

    def best_ms(self, point: Point) -> int:
        """Return the time that is known so far: as read, else as listed."""
        stamp = self._stamp(point.file)
        return point.listed_ms if stamp is None else _believed(point, stamp)

    def read_ms(self, point: Point) -> int:
        """Return the time, read if need be; as listed where it cannot be read."""
        try:
            return self.at_ms(point)
        except (ObjectNotFound, DamagedObject):
            return point.listed_ms

    def unknown(self, points: Iterable[Point]) -> int:
        """Count the points whose times would have to be read."""
        return sum(self._stamp(point.file) is None for point in points)

    def fetch(self, points: Iterable[Point]) -> None:
        """Read the times of many points at once; what cannot be read stays unknown."""
        wanted = [
            point.file
            for point in points
            if point.file.size >= ltx.SMALLEST_FILE_BYTES and self._stamp(point.file) is None
        ]
        noted = self._noted(wanted) if len(wanted) >= _MANY else {}
        for file in wanted:
            if file.key in noted:
                self._learn(file, noted[file.key])
        rest = [file for file in wanted if file.key not in noted]
        read = self._store.beginnings([file.key for file in rest], ltx.HEADER_BYTES)
        for file in rest:
            try:
                self._learn(file, parse_beginning(read.get(file.key, b""), file).timestamp_ms)
            except DamagedObject:
                continue

    def _noted(self, files: Sequence[LtxFile]) -> dict[str, int]:
        """Return the times that Litestream has noted beside objects, where it has."""
        found = self._notes(files[:_SAMPLE])
        # A bucket that was copied may have lost all of them: then nobody asks for the rest.
        return found | self._notes(files[_SAMPLE:]) if found else {}

    def _notes(self, files: Sequence[LtxFile]) -> dict[str, int]:
        notes = self._store.notes([file.key for file in files])
        stamps = ((key, ltx.noted_ms(note)) for key, note in notes.items())
        return {key: stamp for key, stamp in stamps if stamp is not None}

    def keep(self, listed: Iterable[LtxFile]) -> None:
        """Let this machine remember the times of the files that are *listed*."""
        self._known.save(listed)

    def _stamp(self, file: LtxFile) -> int | None:
        found = self._stamps.get(file.key)
        return self._known.get(file) if found is None else found

    def _learn(self, file: LtxFile, stamp: int) -> None:
        self._stamps[file.key] = stamp
        self._known.learn(file, stamp)


def _believed(point: Point, stamp: int) -> int:
    return point.listed_ms if _is_from_the_future(point, stamp) else stamp


def _is_from_the_future(point: Point, stamp: int) -> bool:
    return stamp > point.listed_ms + _CLOCK_TOLERANCE_MS
