"""Fetching the objects of a restore: when it pays, and what is read once only."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Event, Lock, Thread
from typing import cast

import pytest

from obelisk_ops.errors import (
    DamagedObject,
    ObjectNotFound,
    S3Unavailable,
    StorageUnavailable,
    Unproven,
)
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.restore import fetching
from obelisk_ops.restore.fetching import FAR_MS, fetch, parts_of, pays
from obelisk_ops.restore.pace import Pace
from tests.buckets import MemoryStore

MIB = 1 << 20
#: Of three parts, of one, and of less than one.
BODIES = {
    "e/0009/s.ltx": os.urandom(5 * MIB // 2),
    "e/0001/a.ltx": b"a" * MIB,
    "e/0000/b.ltx": b"b",
}


class Bucket(MemoryStore):
    """Tells which ranges were read; some of its answers break off."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = dict(BODIES)
        self.ranges: list[tuple[str, int]] = []
        self.breaks = 0

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        self.ranges.append((key, first or 0))
        if self.breaks:
            self.breaks -= 1
            raise S3Unavailable("the line was cut")
        return super().get(key, first=first, last=last)


class Passing:
    """A clock that stands still, and who waited longest."""

    def __init__(self) -> None:
        self.waited_s, self._lock = 0.0, Lock()

    def now_ms(self) -> int:
        raise NotImplementedError

    def elapsed_ms(self) -> int:
        return 0

    def wait(self, seconds: float) -> None:
        with self._lock:
            self.waited_s = max(self.waited_s, seconds)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def listed(bucket: Bucket) -> list[LtxFile]:
    return [
        LtxFile(
            epoch=1, level=int(info.key[2:6]), min_txid=1, max_txid=1, key=info.key,
            size=info.size, modified_ms=0, etag=info.etag,
        )
        for info in bucket.list("e/")
    ]  # fmt: skip


def fetched(bucket: Bucket, folder: Path) -> list[int]:
    """Fetch all there is, and return what was told of it."""
    told: list[int] = []
    fetch(cast("ObjectStore", bucket), listed(bucket), folder, told.append)
    for key, body in BODIES.items():
        assert (folder / "ltx" / key[5] / key[7:]).read_bytes() == body
    return told


@pytest.mark.parametrize(
    ("answer_ms", "sizes", "is_worth_it"),
    [
        pytest.param(FAR_MS, [5 * MIB], True, id="far, and large"),
        pytest.param(FAR_MS, [500] * 9, True, id="far, and many"),
        pytest.param(FAR_MS, [500] * 3, False, id="far, and next to nothing"),
        pytest.param(FAR_MS - 1, [500 * MIB] * 9, False, id="near: a processor is the limit"),
    ],
)
def test_when_it_pays(answer_ms: int, sizes: list[int], *, is_worth_it: bool) -> None:
    files = [
        LtxFile(epoch=1, level=0, min_txid=n, max_txid=n, key=f"{n}", size=size, modified_ms=0)
        for n, size in enumerate(sizes, 1)
    ]

    assert pays(answer_ms, files) is is_worth_it


def test_every_byte_is_in_one_part(bucket: Bucket) -> None:
    for file in listed(bucket):
        parts = list(parts_of([file], MIB))

        assert [part.first for part in parts] == [0, *(part.end for part in parts[:-1])]
        assert parts[-1].end == file.size


def test_all_is_read_once_also_by_the_next_run(bucket: Bucket, tmp_path: Path) -> None:
    told = fetched(bucket, tmp_path / "f")
    first = len(bucket.ranges)

    again = fetched(bucket, tmp_path / "f")

    whole = sum(map(len, BODIES.values()))
    assert (told[0], told[-1], again) == (0, whole, [whole])
    assert first == len(set(bucket.ranges)) == len(bucket.ranges) == 5


def test_what_is_deleted_first_is_read_first(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_AT_ONCE", 1)
    files = sorted(listed(bucket), key=lambda file: -file.level)  # as they are applied

    fetch(cast("ObjectStore", bucket), files, tmp_path, lambda _: None)

    read = [key for key, _ in bucket.ranges]
    assert read == ["e/0000/b.ltx", "e/0001/a.ltx", *3 * ["e/0009/s.ltx"]]


@pytest.mark.parametrize("harm", ["content", "journal", "another object"])
def test_what_is_not_surely_there_is_read_again(
    bucket: Bucket, tmp_path: Path, harm: str
) -> None:
    fetched(bucket, tmp_path)
    bucket.ranges.clear()
    snapshot = tmp_path / "ltx" / "9" / "s.ltx"
    match harm:
        case "content":
            with snapshot.open("r+b") as file:
                file.seek(MIB)
                file.write(bytes(4096))  # as a power cut leaves it
            expected = [("e/0009/s.ltx", MIB)]
        case "journal":
            lines = (tmp_path / "parts").read_text()
            (tmp_path / "parts").write_text(lines[:-5])
            expected = [(lines.split()[-3], int(lines.split()[-1].partition("-")[0]))]
        case _:
            (tmp_path / "parts").write_text(
                (tmp_path / "parts").read_text().replace(listed(bucket)[0].etag, '"other"')
            )
            expected = [("e/0000/b.ltx", 0)]

    fetched(bucket, tmp_path)

    assert bucket.ranges == expected


def test_what_another_restore_had_wanted_is_not_there(bucket: Bucket, tmp_path: Path) -> None:
    """Litestream takes what it finds: an object of another epoch would be mixed in."""
    bucket.objects = {"e/0009/s.ltx": os.urandom(4 * MIB), "e/0009/t.ltx": b"t"}
    fetch(cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None)
    bucket.objects = BODIES | {"e/0001/nothing.ltx": b""}

    fetched(bucket, tmp_path)

    names = sorted(path.name for path in tmp_path.glob("ltx/*/*"))
    assert names == ["a.ltx", "b.ltx", "nothing.ltx", "s.ltx"]


def test_a_part_whose_line_breaks_is_read_again(bucket: Bucket, tmp_path: Path) -> None:
    bucket.breaks = 3

    fetched(bucket, tmp_path)

    assert len(bucket.ranges) == 5 + 3


def test_a_bucket_that_stays_away(bucket: Bucket, tmp_path: Path) -> None:
    bucket.breaks = 1_000

    with pytest.raises(S3Unavailable):
        fetch(cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None)


def test_a_line_that_comes_to_nothing_is_given_up(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE_S", 0.05)
    monkeypatch.setattr(fetching, "_LAST_WORDS_S", 0.01)
    never = Event()
    monkeypatch.setattr(bucket, "get", lambda *_, **__: never.wait())

    with pytest.raises(S3Unavailable, match="nothing came from the bucket"):
        fetch(cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None)
    never.set()


def test_an_interrupt_while_the_lines_are_being_opened_is_one(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Thread):
        def start(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "Thread", Interrupted)

    with pytest.raises(KeyboardInterrupt):
        fetch(cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("body", "error"),
    [(None, ObjectNotFound), (b"another", ObjectNotFound), (b"cut", DamagedObject)],
)
def test_an_object_that_is_not_what_was_listed(
    bucket: Bucket, tmp_path: Path, body: bytes | None, error: type[Exception]
) -> None:
    """Gone or replaced is planned anew; a short one is damaged."""
    files = listed(bucket)
    if body is None:
        del bucket.objects["e/0001/a.ltx"]
    else:
        bucket.objects["e/0001/a.ltx"] = body
    if error is DamagedObject:  # it was short already when it was listed
        files = [
            file if file.level != 1 else LtxFile(
                epoch=1, level=1, min_txid=1, max_txid=1, key=file.key, size=file.size,
                modified_ms=0,
            )
            for file in files
        ]  # fmt: skip

    with pytest.raises(error):
        fetch(cast("ObjectStore", bucket), files, tmp_path, lambda _: None)


def test_a_full_disk(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)

    with pytest.raises(StorageUnavailable, match="No space left"):
        fetch(cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None)


def test_a_limit_is_kept_by_all_lines_together(bucket: Bucket, tmp_path: Path) -> None:
    """Half a megabyte a second: three and a half megabytes take seven seconds."""
    clock = Passing()
    pace = Pace(MIB // 2, clock, clock.wait)

    fetch(cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None, pace=pace)

    whole = sum(map(len, BODIES.values()))
    last = 1000  # what a part takes, which nobody waits for behind the last one
    assert clock.waited_s * 1000 >= whole * 1000 / pace.per_s - last
    assert len(bucket.ranges) == 8, "in parts of a second"


def test_who_has_no_more_time_waits_for_no_line(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_LAST_WORDS_S", 0.01)
    never, left = Event(), iter([0.01])
    monkeypatch.setattr(bucket, "get", lambda *_, **__: never.wait())

    def left_s() -> float:
        for seconds in left:
            return seconds
        raise Unproven("the time is over")

    with pytest.raises(Unproven):
        fetch(
            cast("ObjectStore", bucket), listed(bucket), tmp_path, lambda _: None, left_s=left_s
        )
    never.set()
