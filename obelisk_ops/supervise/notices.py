"""
What somebody should know of a database though it is backed up.

Pure. A notice never changes a state: the state says what would be lost now, a notice says
what may go wrong next, or what went wrong before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from obelisk_ops.core.words import counted, words_for_bytes

#: Less free space than this is said.
DISK_LOW = 256 << 20
#: With less than this nothing more can be written.
DISK_FULL = 1 << 20
#: Four times as many pages as those at which Litestream begins to put the log back.
WAL_PAGES_MAX = 40_000
#: A few objects that stay a little longer are nothing to speak of.
UNDELETED_MIN = 10
#: An answer of S3 is expected sooner.
SLOW_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wal:
    """
    The write-ahead log of a database.

    Attributes:
        pages: How many of its pages are in use.
        size: The bytes that these take.
        readers: Who else than Litestream reads it now, as ``pid 17 (python)``.
    """

    pages: int
    size: int
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """
    What was seen around a database; None is "not known".

    Attributes:
        disk_free: Bytes that may still be written beside it.
        wal: Its write-ahead log.
        has_snapshot: Whether the bucket holds a full copy.
        lost: What was lost of late, in words.
        intruded: Where somebody else wrote of late, in words.
        undeleted: How many objects Litestream should have deleted, and are there.
        answer_ms: How long S3 takes to answer.
        waiting: Bytes on this disk that are not in the bucket, as files to be shipped.
        rate: Bytes a second that arrived in the bucket of late.
        clock: Why Litestream deletes nothing, if it does not.
        files: Why files may not be opened, if too few may be, and what to do about it.
    """

    disk_free: int | None = None
    wal: Wal | None = None
    has_snapshot: bool | None = None
    lost: tuple[str, ...] = ()
    intruded: tuple[str, ...] = ()
    undeleted: int = 0
    answer_ms: int | None = None
    waiting: int = 0
    rate: int | None = None
    clock: str = ""
    files: str = ""

    @property
    def is_disk_full(self) -> bool:
        """Tell whether nothing more can be written."""
        return self.disk_free is not None and self.disk_free < DISK_FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to know: a stable code, and the words."""

    code: str
    text: str


def notices(around: Surroundings) -> tuple[Notice, ...]:
    """Return what somebody should know, the most urgent first."""
    found = (
        (code, text)
        for look in (_disk, _files, _clock, _wal, _objects, _line)
        for code, text in look(around)
    )
    return tuple(Notice(code=code, text=text) for code, text in found)


def words_of_line(around: Surroundings) -> str:
    """Say how fast what waits gets into the bucket; empty if nothing is known of it."""
    if not around.waiting:
        return ""
    rate = "" if around.rate is None else f", {words_for_bytes(around.rate)} a second arrive"
    return f"{words_for_bytes(around.waiting)} wait{rate}"


def _disk(around: Surroundings) -> Iterator[tuple[str, str]]:
    free = around.disk_free
    if free is not None and free < DISK_LOW:
        what = "the disk is full" if around.is_disk_full else "the disk is nearly full"
        yield "disk_low", f"{what}: {words_for_bytes(free)} free"


def _files(around: Surroundings) -> Iterator[tuple[str, str]]:
    if around.files:
        yield "open_files", around.files


def _clock(around: Surroundings) -> Iterator[tuple[str, str]]:
    if around.clock:
        yield "clock", around.clock


def _wal(around: Surroundings) -> Iterator[tuple[str, str]]:
    wal = around.wal
    if wal is None or wal.pages < WAL_PAGES_MAX:
        return
    who = (
        f"it may be kept by {', '.join(wal.readers)}"
        if wal.readers
        else "a reader may keep a transaction open"
    )
    yield "wal_large", f"the write-ahead log has grown to {words_for_bytes(wal.size)}; {who}"


def _objects(around: Surroundings) -> Iterator[tuple[str, str]]:
    for text in around.intruded:
        yield "second_writer", text
    for text in around.lost:
        yield "lost_objects", text
    if around.has_snapshot is False:
        yield "no_snapshot", "the bucket holds no snapshot; a restore needs every other object"
    if around.undeleted >= UNDELETED_MIN:
        what = counted(around.undeleted, "object")
        yield "undeleted_objects", f"{what} should have been deleted and can still be listed"


def _line(around: Surroundings) -> Iterator[tuple[str, str]]:
    if around.answer_ms is not None and around.answer_ms >= SLOW_MS:
        yield "slow_s3", f"S3 takes {around.answer_ms / 1000:.1f} s to answer"
