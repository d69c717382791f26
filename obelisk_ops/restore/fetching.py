"""
The objects of a restore, fetched before Litestream reads them: by several lines, once each.

Litestream reads them one behind the other. That is as quick as it gets where the bucket is
near, for a processor is the limit. Where it is far each object costs a way there and back,
and one line carries only so much. So there they are read into a folder first, in parts,
several at a time; a part whose line breaks is read again. A journal tells which parts are
there, so that a restore that was killed is gone on with by the next one. Where a limit is set
for how fast is read, all is fetched first: Litestream has no such limit.
"""

from __future__ import annotations

import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from obelisk_ops.errors import ObjectNotFound, S3Unavailable, StorageUnavailable
from obelisk_ops.litestream import ltx
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.restore.pace import Pace, part_bytes

#: A bucket that takes so long for a small answer is far. A near one takes half of it at most.
FAR_MS = 40
#: Less than this is there at once, by whatever way.
_WORTH_BYTES = 4 << 20
_WORTH_OBJECTS = 8

_AT_ONCE = 8
#: At 100 kB a second, shared by all lines, a part of a megabyte is there sooner.
PATIENCE_S = 90.0
_LAST_WORDS_S = 1.0
_TRIES = 4
_JOURNAL = "parts"
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes of an object, from ``first`` up to but not including ``end``."""

    file: LtxFile
    first: int
    end: int

    @property
    def label(self) -> str:
        """What it is called in the journal: nothing else in the world has this content."""
        return f"{self.file.key} {self.file.etag} {self.first}-{self.end}"


def pays(answer_ms: int, files: Sequence[LtxFile]) -> bool:
    """Tell whether a restore gains by fetching its objects first."""
    size = sum(file.size for file in files)
    return answer_ms >= FAR_MS and (size >= _WORTH_BYTES or len(files) >= _WORTH_OBJECTS)


def parts_of(files: Sequence[LtxFile], size: int) -> Iterator[Part]:
    """Cut objects into what is read by one request: so many bytes at most."""
    for file in files:
        for first in range(0, file.size, size):
            yield Part(file=file, first=first, end=min(first + size, file.size))


def held_bytes(folder: Path) -> int:
    """Return how much of the disk a folder of ``fetch`` takes; 0 if there is none."""
    places = folder.glob("ltx/*/*")
    return sum(place.stat().st_blocks * _BLOCK for place in places)


def fetch(
    store: ObjectStore,
    files: Sequence[LtxFile],
    folder: Path,
    progress: Callable[[int], None],
    *,
    pace: Pace | None = None,
    left_s: Callable[[], float] = lambda: PATIENCE_S,
) -> None:
    """
    Read objects into *folder*, laid out as a replica that Litestream finds there.

    What the folder holds of them, from a run that was killed, is not read again.

    Args:
        store: Where they are; many requests at a time.
        files: The objects, in the order Litestream reads them.
        folder: Need not exist.
        progress: Called again and again with the bytes that are there.
        pace: How fast may be read; None for as fast as it gets.
        left_s: How long it may still take; raises where that is over.

    Raises:
        ObjectNotFound: One is gone, or another one has its name.
        DamagedObject: One is shorter than it was listed.
        S3Unavailable: The bucket does not answer, again and again.
        StorageUnavailable: The disk is full, or refuses.
    """
    try:
        _make_places(files, folder)
        journal = os.open(folder / _JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with closing(os.fdopen(journal, "r+b", buffering=0)) as lines:
            known = dict(_known(lines.read()))
            # The last come first: retention goes on meanwhile, and they are the first to go.
            size = part_bytes(pace.per_s if pace else None)
            rest = [p for p in parts_of(files[::-1], size) if not _is_there(folder, p, known)]
            there = sum(file.size for file in files) - sum(p.end - p.first for p in rest)
            progress(there)
            read = partial(_read, store, folder, pace)
            with closing(_read_all(read, rest, left_s)) as found:
                for part, checksum in found:
                    lines.write(f"{checksum} {part.label}\n".encode())
                    there += part.end - part.first
                    progress(there)
    except OSError as error:
        raise StorageUnavailable(
            f"{folder} cannot be written: {error.strerror}",
            hint="check the space, the owner and the mode of the folder",
        ) from None


def _make_places(files: Sequence[LtxFile], folder: Path) -> None:
    """
    Leave nothing else in a folder, for Litestream reads what it finds there.

    What was to be restored before may have been another point, or one of an epoch whose
    objects have the same names and are longer.
    """
    sizes = {_place(folder, file): file.size for file in files}
    for found in (folder / "ltx").glob("*/*"):
        if found not in sizes:
            found.unlink()
    for place, size in sizes.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o600)
        os.truncate(place, size)


def _read_all(
    read: Callable[[Part], int], parts: Sequence[Part], left_s: Callable[[], float]
) -> Generator[tuple[Part, int]]:
    todo, done = deque(parts), SimpleQueue[tuple[Part, int | Exception]]()

    def work() -> None:
        with suppress(IndexError):
            while True:
                part = todo.popleft()
                try:
                    done.put((part, read(part)))
                except Exception as error:  # noqa: BLE001 - raised where it is waited for
                    done.put((part, error))

    # Daemons: a line over which a byte comes now and then holds nobody up.
    crew = [Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(parts)))]
    try:
        for worker in crew:
            worker.start()
        for _ in parts:
            yield _found(done, left_s)
    finally:
        todo.clear()
        ends_at = time.monotonic() + _LAST_WORDS_S  # the folder may be about to be removed
        for worker in crew:
            if worker.is_alive():  # an interrupt comes also while they are being started
                worker.join(max(ends_at - time.monotonic(), 0))


def _found(
    done: SimpleQueue[tuple[Part, int | Exception]], left_s: Callable[[], float]
) -> tuple[Part, int]:
    try:
        part, checksum = done.get(timeout=min(left_s(), PATIENCE_S))
    except Empty:
        left_s()
        raise S3Unavailable(
            f"nothing came from the bucket in {PATIENCE_S:g} s",
            hint="the bucket answers too slowly or not at all; try again",
        ) from None
    if isinstance(checksum, Exception):
        raise checksum
    return part, checksum


def _read(store: ObjectStore, folder: Path, pace: Pace | None, part: Part) -> int:
    """Read a part to its place, and return its checksum."""
    for _ in range(_TRIES - 1):
        with suppress(S3Unavailable):
            return _read_once(store, folder, pace, part)
    return _read_once(store, folder, pace, part)


def _read_once(store: ObjectStore, folder: Path, pace: Pace | None, part: Part) -> int:
    if pace is not None:
        pace.take(part.end - part.first)
    key = part.file.key
    found = store.get(key, first=part.first, last=part.end - 1)
    if part.file.etag and found.info.etag != part.file.etag:
        raise ObjectNotFound(f"the object {key} was replaced by another one")
    if len(found.body) != part.end - part.first:
        raise ltx.damaged(key, f"it ends after {part.first + len(found.body)} bytes")
    handle = os.open(_place(folder, part.file), os.O_WRONLY)
    try:
        written = 0
        while written < len(found.body):
            written += os.pwrite(handle, found.body[written:], part.first + written)
    finally:
        os.close(handle)
    return zlib.crc32(found.body)


def _known(journal: bytes) -> Iterator[tuple[str, int]]:
    # The last line may be cut short; what it says then fits no part.
    for line in journal.decode(errors="replace").splitlines():
        checksum, _, label = line.partition(" ")
        if checksum.isdecimal():
            yield label, int(checksum)


def _is_there(folder: Path, part: Part, known: dict[str, int]) -> bool:
    checksum = known.get(part.label)
    if checksum is None or not part.file.etag:
        return False
    try:
        with _place(folder, part.file).open("rb") as file:
            file.seek(part.first)
            return zlib.crc32(file.read(part.end - part.first)) == checksum
    except OSError:
        return False


def _place(folder: Path, file: LtxFile) -> Path:
    return folder / "ltx" / str(file.level) / file.key.rpartition("/")[2]
