"""What is done to a database, or to Litestream's files, behind everybody's back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import Parent, read_epochs
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.status import Row
from obelisk_ops.supervise.surgery import Found
from tests.supervised import PROGRAM, Plain, Supervised, is_safe, stopped
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise-outage")


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        yield running


def rows_of(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute("SELECT * FROM t ORDER BY rowid").fetchall()


def assert_restored(supervised: Supervised, name: str, source: Path) -> None:
    """Restore the newest state; it has to be what the file holds."""
    copy = supervised.folder / "restored" / f"{name}.db"
    copy.parent.mkdir(exist_ok=True)
    subprocess.run(
        [PROGRAM, "-c", supervised.config, "restore", name, "--to", copy],
        check=True,
        timeout=60,
    )
    assert rows_of(copy) == rows_of(source)


def has_more(row: Row) -> bool:
    """Tell whether everything is safe, and more than was at first."""
    return is_safe(row) and (row.replica_txid or 0) >= 2


def remove_log(path: Path) -> None:
    for ending in ("-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)


@pytest.mark.fault(31)
def test_litestreams_own_files_are_removed_while_it_runs(supervised: Supervised) -> None:
    """Alone it stands still for ever, with a fresh time of its last sync."""
    database = supervised.database("a")
    database.write(3)
    supervised.start()
    supervised.until_safe("a")
    pid = supervised.litestreams["a"]

    shutil.rmtree(Sidecar(database.path).meta(1), ignore_errors=True)
    database.write(4)
    wait_until(lambda: supervised.litestreams.get("a", pid) != pid, 10, "another process")
    database.write(2)
    supervised.until_safe("a", 20)

    assert supervised.stop()[0] == 0
    assert_restored(supervised, "a", database.path)


@pytest.mark.fault(31)
def test_litestreams_own_files_are_exchanged_while_nobody_looks(supervised: Supervised) -> None:
    databases = {name: supervised.database(name) for name in "ab"}
    databases["a"].write(2)
    supervised.start()
    for name, database in databases.items():
        supervised.until_safe(name)
        database.write(3)
    supervised.until("b", has_more, 10, "more of b")
    assert supervised.stop()[0] == 0

    meta_a, meta_b = (Sidecar(databases[name].path).meta(1) for name in "ab")
    spare = meta_a.with_name("spare")
    meta_a.rename(spare)
    meta_b.rename(meta_a)
    spare.rename(meta_b)
    databases["a"].write(5)
    supervised.start()
    for name in databases:
        supervised.until_safe(name, 20)
    assert supervised.stop()[0] == 0

    for name, database in databases.items():
        assert_restored(supervised, name, database.path)


@pytest.mark.fault(32)
def test_a_file_that_is_set_back_while_it_is_supervised_gets_an_epoch_of_its_own(
    supervised: Supervised,
) -> None:
    """Copied in place: the same inode, and nothing of it went through the log."""
    database = supervised.database("a")
    database.write(3)
    supervised.start()
    supervised.until_safe("a")
    older = supervised.folder / "older"
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("VACUUM INTO ?", (str(older),))
    database.write(40)
    supervised.until("a", has_more, 10, "shipped")
    database.close()
    inode = database.path.stat().st_ino

    remove_log(database.path)
    database.path.write_bytes(older.read_bytes())
    supervised.until("a", lambda row: row.epoch == 2, 15, "an epoch of its own")
    Plain(database.path).close()
    supervised.until_safe("a", 20)

    assert database.path.stat().st_ino == inode
    assert supervised.stop()[0] == 0
    assert len(rows_of(database.path)) == 3
    assert_restored(supervised, "a", database.path)


@pytest.mark.fault(32)
def test_a_file_that_is_set_back_with_all_that_is_beside_it_gets_an_epoch_of_its_own(
    supervised: Supervised, replica: ReplicaSettings, store: ObjectStore
) -> None:
    """File, log, index and Litestream's folder: nothing on the disk contradicts anything."""
    database = supervised.database("a")
    database.write(5)
    supervised.start()
    common = supervised.until_safe("a").replica_txid or 0
    meta, older = Sidecar(database.path).meta(1), supervised.folder / "older"
    there = [database.path, *map(Path, (f"{database.path}-wal", f"{database.path}-shm")), meta]
    for place in there:
        lay_over(place, older / place.name)
    database.write(4)
    supervised.until("a", lambda row: (row.replica_txid or 0) > common, 10, "shipped")
    supervised.until_safe("a")
    database.close()

    with stopped(supervised.pid, supervised.litestreams["a"]):  # nobody sees the half of it
        for place in there:
            lay_over(older / place.name, place)
    supervised.until("a", lambda row: row.epoch == 2, 15, "an epoch of its own")
    Plain(database.path).close()
    supervised.until_safe("a", 20)

    assert supervised.stop()[0] == 0
    said = [line["what"] for line in supervised.logged("file_changed")]
    assert said == [Found.SET_BACK.value]
    _, second = read_epochs(store, ReplicaKeys(prefix=replica.prefix, name="a"))
    assert second.parent == Parent(epoch=1, txid=common)
    assert len(rows_of(database.path)) == 5
    assert_restored(supervised, "a", database.path)


def lay_over(source: Path, target: Path) -> None:
    """Copy a file or a folder over another, in place, as ``rsync -a --delete`` does."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        names = {found.name for found in source.iterdir()}
        for stranger in (found for found in target.iterdir() if found.name not in names):
            stranger.unlink()
        for found in source.iterdir():
            lay_over(found, target / found.name)
    elif not source.is_socket():
        target.parent.mkdir(exist_ok=True)
        content = source.read_bytes()
        with target.open("r+b" if target.exists() else "wb") as file:
            file.write(content)
            file.truncate()
        shutil.copystat(source, target)


@pytest.mark.fault(32)
def test_whatever_is_done_to_files_that_share_a_process(
    supervised: Supervised, replica: ReplicaSettings
) -> None:
    supervised.configure(replica, litestream={"topology": "shared"})
    databases = {name: supervised.database(name) for name in ("vacuumed", "replaced", "moved")}
    for database in databases.values():
        database.write(30)
    supervised.start()
    for name in databases:
        supervised.until_safe(name)

    with closing(
        sqlite3.connect(databases["vacuumed"].path, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("DELETE FROM t WHERE a % 2")
        connection.execute("VACUUM")
    other = Plain(supervised.folder / "other.db")
    other.write(5)
    other.close()
    for name in ("replaced", "moved"):
        databases[name].close()
    remove_log(databases["replaced"].path)
    (supervised.folder / "other.db").rename(databases["replaced"].path)
    renamed = databases["moved"].path.with_name("renamed.db")
    for ending in ("", "-wal", "-shm"):
        databases["moved"].path.with_name(f"moved.db{ending}").rename(f"{renamed}{ending}")

    supervised.until("replaced", lambda row: row.epoch == 2, 15, "an epoch of its own")
    for name in ("vacuumed", "replaced", "renamed"):
        supervised.until_safe(name, 20)
    gone = supervised.row("moved")
    assert gone is not None
    assert (gone.state, gone.reason) == ("stopped", "database_not_found")
    pids = set(supervised.litestreams.values())
    assert len(pids) == 1
    assert not [p for p in psutil.Process(pids.pop()).open_files() if "deleted" in p.path]
    supervised.stop()
    assert_restored(supervised, "vacuumed", databases["vacuumed"].path)
    assert_restored(supervised, "replaced", databases["replaced"].path)
    assert_restored(supervised, "renamed", renamed)
