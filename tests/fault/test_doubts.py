"""What Litestream ships and the file does not hold, or the other way round: a new epoch."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import apsw
import psutil
import pytest

from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit
from tests.supervised import PROGRAM, Supervised
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise-outage")

ROW = "x" * 300


@pytest.mark.parametrize("last", ["the owner", "Litestream", "a stranger without Litestream"])
def test_a_commit_that_litestream_may_have_overwritten_is_noted(
    tmp_path: Path, last: str
) -> None:
    database = tmp_path / "x.db"
    # Open to the end, as it is by Litestream: otherwise the index would be made anew.
    with closing(apsw.Connection(str(database))) as connection:
        name = "other" if last == "a stranger without Litestream" else "_litestream_seq"
        for statement in (
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE log (a)",
            f"CREATE TABLE {name} (seq)",
            "INSERT INTO log VALUES (1)",
        ):
            connection.execute(statement).fetchall()
        if last != "the owner":
            connection.execute(f"INSERT INTO {name} VALUES (1)")  # noqa: S608 - a constant
        salts = database.with_name("x.db-wal").read_bytes()[16:24].hex()

        assert find_overlooked_commit(database)

    note = beside.folder(database) / beside.SUSPECT
    assert note.exists() is (last == "Litestream")
    if note.exists():
        assert note.read_text() == f"since {salts}"


def test_a_mark_is_forgotten_only_for_the_owner_that_was_looked_after(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    beside.Lock(database).abandon()
    killed = beside.killed_owner(database)
    assert killed

    beside.forget_killed(database, "1" + killed)
    assert beside.killed_owner(database) == killed
    owner = beside.Lock(database)
    beside.forget_killed(database, killed)
    killed = beside.killed_owner(database)
    assert killed, "the next owner has not looked for the last commit yet"
    owner.settle()
    assert beside.killed_owner(database) is None
    owner.abandon()
    killed = beside.killed_owner(database)
    assert killed

    beside.forget_killed(database, killed)
    assert beside.killed_owner(database) is None
    next_owner = beside.Lock(database)
    assert next_owner.last_owner_closed
    next_owner.release()


def test_what_left_the_log_while_litestream_was_away_is_not_lost(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    """Litestream alone goes on behind it: restored, sixty rows had their old values."""
    source, copy = tmp_path / "runs" / "plain.db", tmp_path / "copy.db"
    with Supervised(tmp_path, replica) as supervised:
        plain = supervised.database("plain")
        with closing(sqlite3.connect(source, isolation_level=None)) as writer:
            writer.execute("PRAGMA wal_autocheckpoint=0")
            writer.executemany("INSERT INTO t VALUES (?)", [(ROW,)] * 300)
            supervised.start()
            supervised.until_safe("plain", 30)
            writer.executemany("INSERT INTO t VALUES (?)", [(ROW,)] * 50)
            supervised.until_safe("plain", 30)
            reader = supervised.litestreams["plain"]
            supervised.crash()
            wait_until(lambda: not psutil.pid_exists(reader), 10, "the end of Litestream")
            for rowid in range(1, 61):
                writer.execute("UPDATE t SET a = ? WHERE rowid = ?", (rowid, rowid))
            writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            plain.write(3)  # over the beginning of the log

            supervised.start()
            row = supervised.until_safe("plain", 30)
            status, said = supervised.stop()

            subprocess.run(
                [PROGRAM, "-c", supervised.config, "restore", "plain", "--to", copy],
                check=True, timeout=60,
            )  # fmt: skip
            rows = writer.execute("SELECT a FROM t ORDER BY rowid").fetchall()

    with closing(sqlite3.connect(copy)) as restored:
        assert restored.execute("SELECT a FROM t ORDER BY rowid").fetchall() == rows
    assert row.epoch == 2
    assert status == 0, said
