"""What somebody should know of a database that is backed up, as a table."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.words import words_for_bytes
from obelisk_ops.supervise.notices import (
    DISK_FULL,
    DISK_LOW,
    SLOW_MS,
    WAL_PAGES_MAX,
    Surroundings,
    Wal,
    notices,
    words_of_line,
)
from obelisk_ops.supervise.surroundings import Surveyor, readers_of

LOG = Wal(pages=WAL_PAGES_MAX, size=165 << 20)


@pytest.mark.parametrize(
    ("around", "code", "text"),
    [
        (Surroundings(), "", ""),
        (Surroundings(disk_free=DISK_LOW), "", ""),
        (Surroundings(disk_free=20 << 20), "disk_low", "the disk is nearly full: 20 MiB free"),
        (
            Surroundings(disk_free=DISK_FULL - 1), "disk_low",
            "the disk is full: 1024 KiB free",
        ),
        (Surroundings(wal=Wal(pages=WAL_PAGES_MAX - 1, size=1)), "", ""),
        (
            Surroundings(wal=LOG), "wal_large",
            "the write-ahead log has grown to 165 MiB; a reader may keep a transaction open",
        ),
        (
            Surroundings(wal=Wal(pages=WAL_PAGES_MAX, size=1 << 20, readers=("pid 7 (py)",))),
            "wal_large",
            "the write-ahead log has grown to 1.0 MiB; it may be kept by pid 7 (py)",
        ),
        (Surroundings(has_snapshot=True), "", ""),
        (
            Surroundings(has_snapshot=False), "no_snapshot",
            "the bucket holds no snapshot; a restore needs every other object",
        ),
        (Surroundings(lost=("it was lost",)), "lost_objects", "it was lost"),
        (Surroundings(intruded=("he wrote",)), "second_writer", "he wrote"),
        (
            Surroundings(undeleted=12), "undeleted_objects",
            "12 objects should have been deleted and can still be listed",
        ),
        (Surroundings(files="too few"), "open_files", "too few"),
        (Surroundings(answer_ms=SLOW_MS - 1), "", ""),
        (Surroundings(answer_ms=1_200), "slow_s3", "S3 takes 1.2 s to answer"),
    ],
)  # fmt: skip
def test_a_notice(around: Surroundings, code: str, text: str) -> None:
    found = [(notice.code, notice.text) for notice in notices(around)]

    assert found == ([(code, text)] if code else [])


@pytest.mark.parametrize(
    ("around", "words"),
    [
        (Surroundings(rate=5), ""),
        (Surroundings(waiting=2_048), "2.0 KiB wait"),
        (Surroundings(waiting=2_048, rate=98_304), "2.0 KiB wait, 96 KiB a second arrive"),
    ],
)
def test_what_waits_and_how_fast_it_goes(around: Surroundings, words: str) -> None:
    assert words_of_line(around) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (10 << 10, "10 KiB"),
        (3 << 19, "1.5 MiB"), (5 << 30, "5.0 GiB"), (2 << 40, "2.0 TiB"),
    ],
)  # fmt: skip
def test_an_amount_of_bytes(size: int, words: str) -> None:
    assert words_for_bytes(size) == words


def test_who_reads_a_log_is_found_by_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer, reader = apsw.Connection(str(path)), apsw.Connection(str(path))
    for statement in ("PRAGMA journal_mode=WAL", "CREATE TABLE t (a)"):
        writer.execute(statement).fetchall()
    surveyor = Surveyor(path, SystemClock())

    surveyor.look(litestream=None)
    rows = reader.execute("SELECT * FROM sqlite_schema")
    next(rows)
    found = readers_of(path, but=None)

    assert surveyor.wal is not None
    assert (surveyor.wal.pages, surveyor.wal.readers) == (2, ())
    assert surveyor.disk_free
    assert len(found) == 1
    assert found[0].startswith("pid ")
    assert readers_of(path, but=int(found[0].split()[1])) == ()
    rows.close()
    assert readers_of(path, but=None) == ()
    reader.close()
    writer.close()
