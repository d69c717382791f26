"""How much is committed behind the newest shipped file, measured on real write-ahead logs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from obelisk_ops.litestream.local import (
    LogEnd,
    Shipped,
    Tail,
    WalReader,
    covering,
    is_overtaken,
    last_before_log,
    level0_file,
    newest_txid,
    read_log_end,
    read_shipped,
)

PAGE = 1024
FRAME = 24 + PAGE


@pytest.fixture
def database(tmp_path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(tmp_path / "db"))
    connection.execute(
        f"PRAGMA page_size={PAGE}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"
        "CREATE TABLE t (a)"
    ).fetchall()
    yield connection
    connection.close()


def wal_of(connection: apsw.Connection) -> Path:
    return Path(f"{connection.filename}-wal")


def shipped_all(connection: apsw.Connection) -> Shipped:
    """Return the position that a file has which holds all of the log."""
    wal = wal_of(connection).read_bytes()
    return Shipped(txid=1, at_ms=0, wal_end=len(wal), salts=struct.unpack(">II", wal[16:24]))


def test_nothing_is_behind_what_was_shipped_whole(database: apsw.Connection) -> None:
    reader = WalReader(Path(database.filename))

    assert reader.measure(shipped_all(database)) == Tail(size=0, commits=0)


def test_what_the_index_does_not_know_is_not_committed(database: apsw.Connection) -> None:
    """Somebody was killed in between; the next commit is written over it."""
    reader, shipped = WalReader(Path(database.filename)), shipped_all(database)
    index = Path(f"{database.filename}-shm")
    known = index.read_bytes()[:136]
    database.execute("INSERT INTO t VALUES (1)")
    with index.open("r+b") as file:
        file.write(known)

    assert reader.measure(shipped) == Tail(size=0, commits=0)
    database.execute("INSERT INTO t VALUES (2)")
    assert reader.measure(shipped) == Tail(size=FRAME, commits=1)


def test_each_commit_behind_it_is_counted(database: apsw.Connection) -> None:
    reader, shipped = WalReader(Path(database.filename)), shipped_all(database)

    for count in (1, 2, 3):
        database.execute("INSERT INTO t VALUES (1)")

        assert reader.measure(shipped) == Tail(size=count * FRAME, commits=count)


def test_a_transaction_that_is_not_committed_is_not_counted(database: apsw.Connection) -> None:
    reader, shipped = WalReader(Path(database.filename)), shipped_all(database)
    database.execute("PRAGMA cache_size=5")
    before = wal_of(database).stat().st_size

    database.execute("BEGIN")
    for _ in range(200):
        database.execute("INSERT INTO t VALUES (zeroblob(900))")

    assert wal_of(database).stat().st_size > before, "it was spilled into the log"
    assert reader.measure(shipped) == Tail(size=0, commits=0)

    database.execute("ROLLBACK")
    database.execute("INSERT INTO t VALUES (1)")

    assert reader.measure(shipped) == Tail(size=FRAME, commits=1)


def test_a_log_that_began_anew_is_behind_as_a_whole(database: apsw.Connection) -> None:
    reader, shipped = WalReader(Path(database.filename)), shipped_all(database)
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    database.execute("INSERT INTO t VALUES (2)")

    assert reader.measure(shipped) == Tail(size=FRAME, commits=1)


@pytest.mark.parametrize(
    ("unread", "in_file", "anew", "overtaken"),
    [
        pytest.param(0, False, False, False, id="all was read"),
        pytest.param(0, True, True, False, id="all was read before it began anew"),
        pytest.param(9, False, False, False, id="the rest is still in it"),
        pytest.param(9, True, False, True, id="the next commit goes over it"),
        pytest.param(9, True, True, True, id="the rest is gone"),
    ],
)
def test_what_left_the_log_unread(
    database: apsw.Connection, *, unread: int, in_file: bool, anew: bool, overtaken: bool
) -> None:
    path = Path(database.filename)
    for _ in range(5):
        database.execute("INSERT INTO t VALUES (1)")
    shipped = shipped_all(database)
    for _ in range(unread):
        database.execute("INSERT INTO t VALUES (2)")
    if in_file:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    if anew:
        database.execute("INSERT INTO t VALUES (3)")

    assert is_overtaken(path, shipped) is overtaken


def test_a_log_that_goes_over_the_last_frame_that_was_read_is_noticed_by_litestream(
    database: apsw.Connection, tmp_path: Path
) -> None:
    shipped = shipped_all(database)
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    for _ in range(9):
        database.execute("INSERT INTO t VALUES (2)")

    assert not is_overtaken(Path(database.filename), shipped)
    assert not is_overtaken(tmp_path / "no-such", shipped)


def test_the_last_transaction_before_a_log_began(tmp_path: Path) -> None:
    assert last_before_log(tmp_path, (3, 4)) is None

    for txid, salts in ((7, (1, 2)), (8, (1, 2)), (9, (3, 4)), (10, (3, 4)), (11, (5, 6))):
        file = level0_file(tmp_path, txid)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(
            struct.pack(
                ">4sIIIQQqQqqII", b"LTX1", 2, PAGE, 9, txid, txid, 0, 0, 32, FRAME, *salts
            )
        )

    assert last_before_log(tmp_path, (3, 4)) == 8
    assert last_before_log(tmp_path, (7, 8)) == 11
    assert last_before_log(tmp_path, None) == 11


def test_what_cannot_be_known_is_none(database: apsw.Connection, tmp_path: Path) -> None:
    shipped = shipped_all(database)

    assert WalReader(tmp_path / "no-such").measure(shipped) is None

    (tmp_path / "x-wal").write_bytes(b"short")

    assert WalReader(tmp_path / "x").measure(shipped) is None

    (tmp_path / "x-wal").write_bytes(bytes(64))

    assert WalReader(tmp_path / "x").measure(shipped) is None


def test_the_newest_file_is_found_and_read(tmp_path: Path) -> None:
    assert newest_txid(tmp_path) == 0

    file = level0_file(tmp_path, 0x1F)
    file.parent.mkdir(parents=True)
    (file.parent / "0000000000000001-0000000000000001.ltx").touch()
    (file.parent / "00000000000000ff-00000000000000ff.ltx.tmp").touch()
    (file.parent / "notes.txt").touch()
    header = struct.pack(
        ">4sIIIQQqQqqII", b"LTX1", 2, PAGE, 9, 31, 31, 1_700, 0, 32, FRAME, 3, 4
    )
    file.write_bytes(header)

    assert newest_txid(tmp_path) == 31
    assert read_shipped(tmp_path, 31) == Shipped(
        txid=31, at_ms=1_700, wal_end=32 + FRAME, salts=(3, 4)
    )


@pytest.mark.parametrize("content", [b"", b"LTX1", bytes(100)])
def test_a_file_that_is_none_tells_nothing(tmp_path: Path, content: bytes) -> None:
    file = level0_file(tmp_path, 1)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    assert read_shipped(tmp_path, 1) is None
    assert read_shipped(tmp_path, 2) is None


def end_of(connection: apsw.Connection) -> LogEnd | None:
    return read_log_end(Path(connection.filename))


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65_536])
def test_the_end_of_the_log_is_behind_the_last_commit(tmp_path: Path, page_size: int) -> None:
    connection = apsw.Connection(str(tmp_path / "db"))
    script = f"PRAGMA page_size={page_size}; PRAGMA journal_mode=WAL; CREATE TABLE t (a)"
    connection.execute(script).fetchall()
    before = end_of(connection)
    shipped = shipped_all(connection)
    assert before == LogEnd(offset=shipped.wal_end, salts=shipped.salts)
    assert before.is_covered_by(shipped)

    with connection:
        connection.execute("INSERT INTO t VALUES (1)")
        assert end_of(connection) == before, "it may still be rolled back"
    after = end_of(connection)
    assert after is not None
    assert after.offset == before.offset + 24 + page_size
    assert not after.is_covered_by(shipped)
    connection.close()


def test_a_log_that_was_begun_anew_has_another_end(database: apsw.Connection) -> None:
    shipped = shipped_all(database)
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    database.execute("INSERT INTO t VALUES (1)")

    end = end_of(database)
    assert end is not None
    assert end.salts != shipped.salts
    assert not end.is_covered_by(shipped), "it reaches as far, in another log"


def test_where_no_log_is_there_is_no_end(tmp_path: Path, database: apsw.Connection) -> None:
    assert read_log_end(tmp_path / "nothing") is None
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert end_of(database) is None


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ([], None),
        ([(7, 100)], 1),
        ([(7, 99)], None),
        ([(7, 60), (7, 140)], 2),
        ([(7, 100), (8, 50)], 1),
        ([(7, 90), (8, 500)], None),
        ([(7, 100)] + [(8, 50)] * 20, None),
    ],
    ids=["none", "as far", "not so far", "further", "then another log", "other log", "old"],
)
def test_the_file_that_covers_the_end(
    tmp_path: Path, files: list[tuple[int, int]], wanted: int | None
) -> None:
    for txid, (salt, wal_end) in enumerate(files, 1):
        path = level0_file(tmp_path, txid)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = struct.pack(
            ">4s12xQQq8xqqII", b"LTX1", txid, txid, 0, 32, wal_end - 32, salt, salt
        )
        path.write_bytes(head)

    assert covering(tmp_path, len(files), LogEnd(offset=100, salts=(7, 7))) == wanted
