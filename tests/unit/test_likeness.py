"""Whether a file that Litestream ships holds what the database does, on real logs."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import apsw
import pytest

from obelisk_ops.litestream import likeness
from obelisk_ops.litestream.likeness import Likeness, compare
from obelisk_ops.litestream.local import level0_file, read_published
from tests.ltx import encode

PAGE = 1024
FRAME = 24 + PAGE
INDEX_BYTES = 136


@pytest.fixture
def database(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A database with a few pages in its file, and an empty log."""
    connection = apsw.Connection(str(tmp_path / "db"))
    for statement in (
        f"PRAGMA page_size={PAGE}", "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0",
        "CREATE TABLE t (a)", "CREATE TABLE u (a)", "INSERT INTO u VALUES (1)",
        "PRAGMA wal_checkpoint(RESTART)", "UPDATE u SET a = 2",
    ):  # fmt: skip
        connection.execute(statement).fetchall()
    yield connection
    connection.close()


def log_of(path: Path) -> tuple[bytes, int]:
    """Return the log up to its last frame that has its salts, and how many frames that is."""
    log = path.with_name("db-wal").read_bytes()
    frames = 0
    while log[(at := 32 + frames * FRAME) + 8 : at + 16] == log[16:24]:
        frames += 1
    return log[: 32 + frames * FRAME], frames


def ship(path: Path, txid: int, *, since: int = 0, bent: bool = False) -> None:
    """Leave the file that Litestream makes of the log behind its first *since* frames."""
    log, frames = log_of(path)
    places = [32 + number * FRAME for number in range(since, frames)]
    pages: dict[int, bytes] = {
        int.from_bytes(log[at : at + 4], "big"): log[at + 24 : at + FRAME] for at in places
    }
    if bent:
        pages |= {max(pages): bytes(PAGE)}
    write(path, txid, pages, log, places[0])


def write(path: Path, txid: int, pages: Mapping[int, bytes], log: bytes, begin: int) -> None:
    salts = struct.unpack(">II", log[16:24])
    file = level0_file(path.parent, txid)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        encode(pages, commit=max(99, *pages), first=txid, log=(begin, len(log) - begin, *salts))
    )


def kill_in_the_commit_of(connection: apsw.Connection, statement: str) -> None:
    """Leave the commit in the log, whole, and not in the index."""
    index = os.open(f"{connection.filename}-shm", os.O_RDWR)
    known = os.pread(index, INDEX_BYTES, 0)
    connection.execute(statement)
    os.pwrite(index, known, 0)
    os.close(index)


def test_what_was_read_from_the_log_is_the_same(
    database: apsw.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "db"
    ship(path, 2)
    _, since = log_of(path)
    database.execute("INSERT INTO t VALUES (1)")
    ship(path, 3, since=since)
    database.execute("INSERT INTO t VALUES (2)")

    assert compare(path, tmp_path, 2) is Likeness.SAME
    assert compare(path, tmp_path, 3) is Likeness.SAME
    assert compare(path, tmp_path, 4) is Likeness.SAME, "it is not kept for ever"


def test_what_was_not_read_from_the_log_is_different(
    database: apsw.Connection, tmp_path: Path
) -> None:
    database.execute("INSERT INTO t VALUES (1)")
    ship(tmp_path / "db", 2, bent=True)

    assert compare(tmp_path / "db", tmp_path, 2) is Likeness.DIFFERENT


def test_a_commit_that_nobody_finished(database: apsw.Connection, tmp_path: Path) -> None:
    path = tmp_path / "db"
    _, since = log_of(path)
    kill_in_the_commit_of(database, "INSERT INTO t VALUES ('left')")
    ship(path, 2, since=since)

    assert compare(path, tmp_path, 2) is Likeness.UNFINISHED
    database.execute("INSERT INTO t VALUES ('over')")
    for value in range(3):
        database.execute("INSERT INTO t VALUES (?)", (value,))
    assert compare(path, tmp_path, 2) is Likeness.DIFFERENT


def test_the_same_commit_again_is_no_difference(
    database: apsw.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "db"
    _, since = log_of(path)
    kill_in_the_commit_of(database, "INSERT INTO t VALUES ('again')")
    ship(path, 2, since=since)
    database.execute("INSERT INTO t VALUES ('again')")

    assert compare(path, tmp_path, 2) is Likeness.SAME


@pytest.mark.parametrize(
    ("bent", "since_written", "found"),
    [
        pytest.param(False, "", Likeness.SAME, id="as in the file"),
        pytest.param(True, "", Likeness.DIFFERENT, id="not in the file"),
        pytest.param(
            True, "unread", None, id="not in the file, and what came then is not read"
        ),
        pytest.param(True, "the log", Likeness.SAME, id="written again since"),
        pytest.param(True, "shipped", Likeness.SAME, id="written again and shipped since"),
    ],
)
def test_a_log_that_was_begun_anew(
    database: apsw.Connection,
    tmp_path: Path,
    *,
    bent: bool,
    since_written: str,
    found: Likeness | None,
) -> None:
    path = tmp_path / "db"
    _, since = log_of(path)
    database.execute("INSERT INTO t VALUES (1)")
    ship(path, 2, since=since, bent=bent)
    if since_written == "shipped":
        _, since = log_of(path)
        database.execute("UPDATE t SET a = 2")
        ship(path, 3, since=since)
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    database.execute("UPDATE u SET a = 3")
    if since_written == "the log":
        database.execute("UPDATE t SET a = 3")
    elif since_written != "unread":
        ship(path, 4)

    assert compare(path, tmp_path, 2) is found


def test_a_copy_of_all_may_hold_whatever_differs(
    database: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    _, since = log_of(path)
    database.execute("INSERT INTO t VALUES (1)")
    ship(path, 2, since=since, bent=True)
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    database.execute("UPDATE u SET a = 3")
    log, _ = log_of(path)
    write(path, 3, {number: os.urandom(PAGE) for number in range(1, 20)}, log, 32)
    monkeypatch.setattr(likeness, "_BYTES_MAX", 10 * PAGE)

    assert compare(path, tmp_path, 2) is Likeness.SAME


def test_the_pages_of_a_large_part_of_the_log_are_not_compared(
    database: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    _, since = log_of(path)
    for value in range(20):
        database.execute("UPDATE u SET a = zeroblob(?)", (value,))
    ship(path, 2, since=since, bent=True)
    assert compare(path, tmp_path, 2) is Likeness.DIFFERENT
    monkeypatch.setattr(likeness, "_BYTES_MAX", 10 * PAGE)

    assert compare(path, tmp_path, 2) is Likeness.SAME


def test_nothing_is_told_while_the_index_is_being_made(
    database: apsw.Connection, tmp_path: Path
) -> None:
    ship(tmp_path / "db", 2)
    index = tmp_path / "db-shm"
    with index.open("r+b") as file:
        file.write(bytes(INDEX_BYTES))

    assert read_published(tmp_path / "db") is None
    assert compare(tmp_path / "db", tmp_path, 2) is None


def test_of_a_large_file_only_its_end_counts(
    database: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "_BYTES_MAX", 10)
    path = tmp_path / "db"
    ship(path, 2, bent=True)
    assert compare(path, tmp_path, 2) is Likeness.SAME
    kill_in_the_commit_of(database, "INSERT INTO t VALUES ('left')")
    ship(path, 3)

    assert compare(path, tmp_path, 3) is Likeness.UNFINISHED


def test_a_large_commit_is_not_held_in_memory_as_a_whole(
    database: apsw.Connection, tmp_path: Path
) -> None:
    """A fleet compares eight at once."""
    path, size = tmp_path / "db", 4 << 20
    _, since = log_of(path)
    database.execute("INSERT INTO t VALUES (randomblob(?))", (size,))
    database.execute("UPDATE u SET a = 3")
    ship(path, 2, since=since)
    tracemalloc.start()
    try:
        found, (_, most) = compare(path, tmp_path, 2), tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found is Likeness.SAME
    assert level0_file(tmp_path, 2).stat().st_size > size, "it cannot be packed"
    assert most < size // 2
    ship(path, 2, since=since, bent=True)
    assert compare(path, tmp_path, 2) is Likeness.DIFFERENT
