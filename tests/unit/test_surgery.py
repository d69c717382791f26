"""What between two looks was not SQLite, as a table."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from obelisk_ops.litestream.local import level0_file, level0_folder
from obelisk_ops.supervise.surgery import Found, Surgery, Trace, compare, trace_of

S = b"saltsalt"
BEFORE = Trace(file=(8192, 1), log=2, index=3, backfilled=(S, 5, 5), meta=4)
WRITTEN = replace(BEFORE, file=(8192, 2))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        pytest.param(BEFORE, BEFORE, None, id="nothing"),
        pytest.param(BEFORE, replace(WRITTEN, backfilled=(S, 9, 9)), None, id="a checkpoint"),
        pytest.param(
            replace(BEFORE, backfilled=(S, 5, 9)),
            replace(WRITTEN, backfilled=(S, 5, 9)),
            None,
            id="a checkpoint that goes on",
        ),
        pytest.param(
            BEFORE, replace(WRITTEN, backfilled=(b"othersal", 0, 0)), None, id="a new log"
        ),
        pytest.param(BEFORE, WRITTEN, Found.CHANGED, id="written by something else"),
        pytest.param(BEFORE, replace(BEFORE, file=(100, 1)), Found.CHANGED, id="cut off"),
        pytest.param(BEFORE, replace(BEFORE, log=None), Found.CHANGED, id="the log is gone"),
        pytest.param(BEFORE, replace(BEFORE, index=9), Found.CHANGED, id="another index"),
        pytest.param(
            replace(BEFORE, log=None, index=None), BEFORE, None, id="the first commit since"
        ),
        pytest.param(
            replace(BEFORE, backfilled=None),
            WRITTEN,
            None,
            id="without an index nothing is known",
        ),
        pytest.param(
            BEFORE, replace(BEFORE, meta=None), Found.FORGOTTEN, id="its files are gone"
        ),
        pytest.param(BEFORE, replace(BEFORE, meta=9), Found.CHANGED, id="or exchanged"),
        pytest.param(replace(BEFORE, meta=None), BEFORE, None, id="or made only now"),
    ],
)
def test_what_was_done(before: Trace, now: Trace, found: Found | None) -> None:
    assert compare(before, now) == found


def test_sqlite_itself_is_always_explained(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    surgery = Surgery(path)
    has_captured(tmp_path, 3, 4, 5)
    with closing(apsw.Connection(str(path))) as connection:
        for statement in (
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE t (a)",
            "INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 200)",
            "PRAGMA wal_checkpoint(PASSIVE)",
            "UPDATE t SET a = 1",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "VACUUM",
            "DELETE FROM t",
            "PRAGMA wal_checkpoint(RESTART)",
            "INSERT INTO t VALUES (1)",
            "PRAGMA wal_checkpoint(FULL)",
        ):
            if "generate_series" in statement:
                connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 500,)] * 200)
            else:
                connection.execute(statement).fetchall()
            assert surgery.look(tmp_path, pid=1, txid=3) is None, statement

        content = path.read_bytes()
        path.write_bytes(content)

        assert surgery.look(tmp_path, pid=2, txid=4) is None, "another process knows no better"
        path.write_bytes(content[:-1] + b"x")
        assert surgery.look(tmp_path, pid=2, txid=5) is Found.CHANGED
        assert surgery.trusted_txid == 4
        assert trace_of(path, tmp_path) == trace_of(path, tmp_path)


def test_what_is_gone_before_the_first_look_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    surgery = Surgery(path)

    assert surgery.look(tmp_path, pid=1, txid=0) is None, "nothing was captured yet"
    assert surgery.look(tmp_path, pid=1, txid=3) is Found.FORGOTTEN


@pytest.mark.parametrize(
    ("here", "found", "trusted"),
    [
        pytest.param([3, 4], None, 4, id="nothing"),
        pytest.param([4], None, 4, id="older ones are removed in time"),
        pytest.param([4, 5], None, 4, id="it has gone on since it was asked"),
        pytest.param([2, 3], Found.SET_BACK, 3, id="the newest is gone, older ones are there"),
        pytest.param([], Found.FORGOTTEN, 0, id="none is there"),
    ],
)
def test_litestream_says_that_it_has_what_is_not_there(
    tmp_path: Path, here: list[int], found: Found | None, trusted: int
) -> None:
    path = tmp_path / "a.db"
    path.touch()
    surgery = Surgery(path)
    has_captured(tmp_path, *here)

    assert surgery.look(tmp_path, pid=1, txid=4) is found
    assert surgery.trusted_txid == trusted


def has_captured(meta: Path, *txids: int) -> None:
    """Leave files as Litestream does."""
    level0_folder(meta).mkdir(parents=True)
    for txid in txids:
        level0_file(meta, txid).touch()
