"""What Litestream ships and the file does not hold, or the other way round: a new epoch."""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import apsw
import psutil
import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.litestream.local import level0_file
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit
from obelisk_ops.supervise.doubts import Doubts
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.sidecar import Sidecar
from tests.supervised import PROGRAM, Supervised, stopped
from tests.support import runs, wait_until

pytestmark = pytest.mark.xdist_group("supervise-outage")

ROW = "x" * 300
FLEET = SimpleNamespace(clock=SystemClock())

#: Dies in the middle of a commit: it is complete in the log, and missing in the index.
KILLED = """
import os, signal, sys
from pathlib import Path
import apsw
from obelisk_ops.storage.sqlite.beside import Lock

path = Path(sys.argv[1])
lock = Lock(path)
connection = apsw.Connection(str(path))
for statement in (
    "PRAGMA page_size = 1024", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a, b)"
):
    connection.execute(statement).fetchall()
print("up", flush=True)
sys.stdin.readline()
connection.wal_autocheckpoint(0)
with connection:
    rows = [(number, "x" * 1500) for number in range(8_000)]
    connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
index = Path(f"{path}-shm")
known = index.read_bytes()[:136]
connection.executemany("INSERT INTO t VALUES (?, ?)", [(-1, "y" * 9_000)])
with index.open("r+b") as file:
    file.write(known)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("last", "leaves_note"),
    [
        ("the owner", True),
        ("Litestream", True),
        ("Litestream", False),
        ("a stranger without Litestream", True),
    ],
)
def test_a_commit_that_litestream_may_have_overwritten_is_noted(
    tmp_path: Path, *, last: str, leaves_note: bool
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

        assert find_overlooked_commit(database, leaves_note=leaves_note)

    note = beside.folder(database) / beside.SUSPECT
    assert note.exists() is (last == "Litestream" and leaves_note)
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


@pytest.mark.parametrize("follows", [None, "the old log", "the new log"])
def test_a_log_that_litestream_itself_began_anew_is_no_doubt(
    tmp_path: Path, follows: str | None
) -> None:
    path = tmp_path / "x.db"
    sidecar = Sidecar(path)
    sidecar.folder.mkdir()
    meta = sidecar.meta(1)
    doubts = Doubts("x", path, sidecar=sidecar, fleet=cast("Fleet", FLEET), on_news=print)
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        for statement in ("CREATE TABLE t (a)", *["INSERT INTO t VALUES (1)"] * 5):
            connection.execute(statement)
        ship(meta, 1, path)
        connection.execute("INSERT INTO t VALUES (2)")
        assert not doubts.look(meta, is_running=False)
        if follows == "the old log":
            ship(meta, 2, path)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.execute("INSERT INTO t VALUES (3)")
        if follows == "the new log":
            ship(meta, 2, path)

        assert doubts.look(meta, is_running=True) is (follows != "the old log")

    assert sidecar.suspect() == (None if follows == "the old log" else b"trusted 1")


def ship(meta: Path, txid: int, database: Path) -> None:
    """Leave a file such as Litestream's that says how far the log was read: to its end."""
    wal = database.with_name(f"{database.name}-wal").read_bytes()
    file = level0_file(meta, txid)
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">4sIIIQQqQqq", b"LTX1", 2, 4096, 9, txid, txid, 0, 0, 32, len(wal) - 32)
    file.write_bytes(head + wal[16:24])


def test_a_commit_that_was_shipped_and_overwritten_ends_the_epoch(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    """Without that, the copy is malformed, and status says ok."""
    source, copy = tmp_path / "runs" / "x.db", tmp_path / "copy.db"
    source.parent.mkdir()
    argv = [sys.executable, "-c", KILLED, str(source)]
    with (
        Supervised(tmp_path, replica) as supervised,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer,
    ):
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"up\n"
        supervised.start()
        supervised.until_safe("x", 30)
        # Litestream shall see it all at once, and the supervisor only what is left of it.
        with stopped(supervised.pid):
            with stopped(supervised.litestreams["x"]):
                writer.communicate(b"\n", 30)
                log = source.with_name("x.db-wal")
                salts = salts_of(log)
            wait_until(lambda: salts_of(log) != salts, 20, "Litestream's checkpoint")
        row = supervised.until_safe("x", 30)
        status, said = supervised.stop()
        subprocess.run(
            [PROGRAM, "-c", supervised.config, "restore", "x", "--to", copy],
            check=True, timeout=180,
        )  # fmt: skip

    assert (row.epoch, status) == (2, 0), said
    assert rows_of(copy) == rows_of(source)


def salts_of(log: Path) -> bytes:
    with log.open("rb") as file:
        return file.read(24)[16:]


def rows_of(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM t ORDER BY rowid").fetchall()


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
            reader = psutil.Process(supervised.litestreams["plain"])
            supervised.crash()
            wait_until(lambda: not runs(reader), 10, "the end of Litestream")
            for rowid in range(1, 61):
                writer.execute("UPDATE t SET a = ? WHERE rowid = ?", (rowid, rowid))
            writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            plain.write(3)  # over the beginning of the log

            supervised.start()
            row = supervised.until_safe("plain", 30)
            status, said = supervised.stop()

            subprocess.run(
                [PROGRAM, "-c", supervised.config, "restore", "plain", "--to", copy],
                check=True, timeout=180,
            )  # fmt: skip
            rows = rows_of(source)

    assert rows_of(copy) == rows
    assert row.epoch == 2
    assert status == 0, said


def test_the_first_owner_of_a_restored_copy_follows_nobody_who_was_killed(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    """Litestream wrote last, into a log of its own: without the note, an epoch in vain."""
    folder = tmp_path / "runs"
    folder.mkdir()
    with Supervised(tmp_path, replica) as supervised:
        work(folder / "x.db", tmp_path)
        supervised.start()
        supervised.until_safe("x", 30)
        restore(supervised, "x", folder / "copy.db")
        supervised.until_safe("copy", 30)

        work(folder / "copy.db", tmp_path)

        supervised.until("copy", lambda row: (row.replica_txid or 0) > 1, 30, "shipped")
        row = supervised.until_safe("copy", 30)
        assert not supervised.logged("epoch_in_doubt"), supervised.log_text()
        assert supervised.stop()[0] == 0
        restore(supervised, "copy", tmp_path / "again.db")

    assert row.epoch == 1
    assert log_of(tmp_path / "again.db") == log_of(folder / "copy.db")


def work(database: Path, folder: Path) -> None:
    """Let a process own a database for one execution."""
    flow = Path(__file__).with_name("flows.py")
    argv = [PROGRAM, "run", f"{flow}:steps", json.dumps(str(folder / "side")), "2", "--db"]
    subprocess.run([*map(str, argv), str(database)], check=True, timeout=180)


def restore(supervised: Supervised, name: str, target: Path) -> None:
    argv = [PROGRAM, "-c", supervised.config, "restore", name, "--to", target]
    subprocess.run([*map(str, argv)], check=True, timeout=180)


def log_of(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM log ORDER BY rowid").fetchall()


@pytest.mark.parametrize(("before", "expected"), [
    ([], True), (["restored"], False), (["restored", "owned"], False),
    (["restored", "killed"], True), (["killed"], True), (["owned"], False),
])  # fmt: skip
def test_who_follows_an_owner_that_may_have_been_killed(
    tmp_path: Path, before: list[str], *, expected: bool
) -> None:
    database = tmp_path / "x.db"
    if "restored" in before:
        (beside.make_folder(database) / beside.RESTORED).write_text("{}")
    if "owned" in before:
        beside.Lock(database).release()
    if "killed" in before:
        beside.Lock(database).abandon()

    lock = beside.Lock(database)
    lock.release()
    assert lock.follows_killed is expected
