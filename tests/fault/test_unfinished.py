"""Who is killed in the middle of a commit, and is no owner of ours: nothing tells but files."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from obelisk_ops.litestream.likeness import is_unfinished
from obelisk_ops.litestream.local import newest_txid, read_published, read_shipped
from obelisk_ops.settings import ReplicaSettings, child_environment
from obelisk_ops.supervise.sidecar import Sidecar
from tests.supervised import PROGRAM, Supervised, stopped
from tests.support import wait_until

pytestmark = [
    pytest.mark.xdist_group("supervise-outage"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="not on this platform: strace"),
]

APPLICATION = Path(__file__).with_name("unfinished.py")
FLOWS = Path(__file__).with_name("flows.py")
SYNCS = "fsync,fdatasync"


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        yield running


def kill_in_its_commit(argv: Sequence[str | Path]) -> None:
    """Run a program that commits once; the kernel kills it when the log is to be synced."""
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={SYNCS}"]
    inject = ["-e", f"inject={SYNCS}:signal=KILL:when=1"]
    ended = subprocess.run(
        [*traced, *inject, *map(str, argv)],
        env=child_environment({}), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def has_shipped_it(database: Path) -> bool:
    """Tell whether Litestream has shipped more than the index of the log knows."""
    meta = Sidecar(database).meta(1)
    shipped, published = read_shipped(meta, newest_txid(meta)), read_published(database)
    return bool(shipped and published and is_unfinished(shipped, published))


def table(path: Path, name: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall()  # noqa: S608


@contextmanager
def worker(db: Path) -> Iterator[None]:
    """Own a database, as `obelisk-ops worker` does."""
    argv = [str(PROGRAM), "worker", str(FLOWS), "--db", str(db)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert "serving" in process.stderr.readline()
            yield
        finally:
            process.terminate()
            process.communicate(timeout=20)


def restored(supervised: Supervised, name: str) -> Path:
    copy = supervised.folder / "copy.db"
    argv = (PROGRAM, "-c", supervised.config, "restore", name, "--to", copy)
    subprocess.run(argv, check=True, timeout=60)
    return copy


@pytest.mark.parametrize(
    "epoch", [pytest.param(1, marks=pytest.mark.chaos), 2], ids=["nobody writes", "overwritten"]
)
def test_a_plain_application(supervised: Supervised, epoch: int) -> None:
    database = supervised.database("a")
    database.write(3)
    supervised.start()
    supervised.until_safe("a")
    database.write(3)  # behind what Litestream writes when it opens the file

    with stopped(*[supervised.pid] * (epoch - 1)):
        kill_in_its_commit([sys.executable, APPLICATION, database.path, "x"])
        if epoch == 1:
            supervised.until("a", lambda _: supervised.logged("commit_found"), 20, "found")
            assert len(table(database.path, "t")) == 7, "it is a commit like any other"
        else:
            wait_until(lambda: has_shipped_it(database.path), 20, "it is shipped")
            database.write()
    database.write(2)

    row = supervised.until("a", lambda row: row.epoch == epoch, 20, "the epoch that is sound")
    row = supervised.until_safe("a", 20)
    assert row.epoch == epoch
    assert supervised.stop()[0] == 0
    assert table(restored(supervised, "a"), "t") == table(database.path, "t")


@pytest.mark.parametrize(
    "epoch", [1, pytest.param(2, marks=pytest.mark.chaos)], ids=["nobody writes", "overwritten"]
)
def test_a_submit_while_the_owner_lives(supervised: Supervised, epoch: int) -> None:
    db, side = supervised.folder / "runs" / "x.db", supervised.folder / "side"
    db.parent.mkdir()

    def submit(name: str) -> list[str | Path]:
        asked = (PROGRAM, "execution", "submit", f"{FLOWS}:steps", json.dumps(str(side)), "2")
        return [*asked, "--id", name, "--db", db]

    def wait_for(name: str) -> None:
        asked = (PROGRAM, "execution", "result", name, "--wait", "20", "--db", db)
        subprocess.run(asked, check=True, timeout=60)

    with worker(db):
        supervised.start()
        supervised.until_safe("x", 20)
        subprocess.run(submit("before"), check=True, timeout=60)
        wait_for("before")  # behind what Litestream writes when it opens the file
        with stopped(*[supervised.pid] * (epoch - 1)):
            kill_in_its_commit(submit("killed"))
            if epoch == 2:
                wait_until(lambda: has_shipped_it(db), 20, "it is shipped")
                subprocess.run(submit("next"), check=True, timeout=60)
        if epoch == 1:
            supervised.until("x", lambda _: supervised.logged("commit_found"), 20, "found")
            wait_for("killed")
        row = supervised.until("x", lambda row: row.epoch == epoch, 20, "the sound epoch")
        row = supervised.until_safe("x", 20)

    assert row.epoch == epoch
    assert supervised.stop()[0] == 0
    assert table(restored(supervised, "x"), "log") == table(db, "log")
