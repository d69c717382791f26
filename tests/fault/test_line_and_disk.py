"""Slow lines, empty answers, full disks, readers that stay: said, and survived."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import psutil
import pytest

from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.status import Row
from tests.conftest import S3
from tests.faults import Refused, Slow, SwallowedDelete
from tests.proxy import Proxy
from tests.supervised import IN_TIME_S, Plain, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("line-and-disk")

#: Of a slow line, in bytes a second.
RATE = 100_000
#: Everything that Litestream does in minutes, in a second.
HURRY: dict[str, Any] = {
    "sync_interval": "100ms", "list_interval": "1s", "levels": ["1s"],
    "l0": {"retention": "1s", "check": "1s"},
}  # fmt: skip


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


@pytest.fixture
def supervised(tmp_path: Path, proxy: Proxy, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replace(replica, endpoint=proxy.endpoint)) as running:
        yield running


def codes(row: Row) -> list[str]:
    return [notice.code for notice in row.notices]


@pytest.mark.fault(3, 5)
def test_a_slow_line_and_a_busy_server(supervised: Supervised, proxy: Proxy) -> None:
    """What arrives in time is no alarm; what does not is told with how fast it comes."""
    database = supervised.database("a")
    database.write()
    supervised.start()
    supervised.until_safe("a")

    with proxy.fault(Refused(503, "SlowDown"), times=2) as burst:
        database.write()
        wait_until(lambda: burst.hits == 2, 15, "the server was busy")
    supervised.until_safe("a")
    with proxy.fault(Slow(latency_s=0.05, rate=RATE)):
        wait_until(lambda: is_in_time(supervised, database), 20, "sent within its time")
        states = {told["state"] for told in supervised.logged("state")}
        assert states <= {"ok", "lagging"}, "slow is not unknown, and nothing ends"
        with closing(sqlite3.connect(database.path, isolation_level=None)) as writer:

            def is_slow(row: Row) -> bool:
                writer.execute("INSERT INTO t VALUES (randomblob(10000))")
                said = re.search(r"iB wait, ([0-9.]+) KiB a second arrive$", row.detail)
                # What waited in buffers counts too, and so does that all stood still: it is the
                # line's, and not that of a free one.
                is_the_lines = said and RATE / 4 < float(said[1]) * 1024 < RATE * 2
                return row.state == "lagging" and bool(is_the_lines)

            row = supervised.until("a", is_slow, 20, "behind, with how fast it is")
        assert row.reason == ""
    supervised.until_safe("a", 30)


def is_in_time(supervised: Supervised, database: Plain) -> bool:
    """Write something, and tell whether it was safe in time; then no alarm was given."""
    reached = supervised.until_safe("a").replica_txid or 0
    before, began_s = len(supervised.logged("state")), time.monotonic()

    def is_there(row: Row) -> bool:
        return is_safe(row) and (row.replica_txid or 0) > reached

    database.write()
    supervised.until("a", is_there, 10, "sent")
    if time.monotonic() - began_s > IN_TIME_S:
        return False  # this machine is busy: once more
    # The log may say only now that it is well: `status` judges anew whenever it is asked.
    said = {told["state"] for told in supervised.logged("state")[before:]}
    assert said <= {"ok"}, "no false alarm"
    return True


@pytest.mark.fault(10)
def test_deletes_that_delete_nothing(
    supervised: Supervised, proxy: Proxy, replica: ReplicaSettings
) -> None:
    supervised.configure(replace(replica, endpoint=proxy.endpoint), litestream=HURRY)
    database = supervised.database("a")
    supervised.start()
    supervised.until_safe("a")

    with proxy.fault(SwallowedDelete()) as swallowed:

        def noticed(row: Row) -> bool:
            database.write()
            return "undeleted_objects" in codes(row)

        row = supervised.until("a", noticed, 30, "objects that should be gone are counted")
        assert swallowed.hits
    assert row.state in {"ok", "lagging"}, "it does no harm"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    if os.geteuid() != 0:
        pytest.skip("not on this platform: only root may mount a small file system")
    folder = tmp_path / "runs"
    folder.mkdir()
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.fault(26)
def test_a_full_disk_is_said_and_it_goes_on_when_there_is_room(
    small_disk: Path, supervised: Supervised
) -> None:
    database = supervised.database("a")
    database.write()
    supervised.start()
    row = supervised.until_safe("a")
    assert codes(row) == ["disk_low"]

    with frozen(supervised.litestreams["a"]):
        database.write(3)
        with suppress_full_disk(), (small_disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
    row = supervised.until("a", lambda row: row.reason == "storage_unavailable", 20, "said")
    assert row.state == "lagging"
    assert "the disk is full" in row.detail
    assert supervised.status()[1] == 6
    (small_disk / "filler").unlink()
    supervised.until_safe("a", 45)
    assert supervised.logged("bug") == []


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@contextmanager
def suppress_full_disk() -> Iterator[None]:
    with pytest.raises(OSError, match="No space left"):
        yield


@pytest.mark.fault(33)
def test_a_log_that_a_reader_keeps_is_said_with_who_it_may_be(supervised: Supervised) -> None:
    path = supervised.folder / "runs" / "a.db"
    path.parent.mkdir()
    writer, reader = apsw.Connection(str(path)), apsw.Connection(str(path))
    writer.set_busy_timeout(5_000)
    for statement in (
        "PRAGMA page_size=512", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF",
        "CREATE TABLE t (a)", "INSERT INTO t VALUES (0)",
    ):  # fmt: skip
        writer.execute(statement).fetchall()
    supervised.start()
    supervised.until_safe("a")

    rows = reader.execute("SELECT * FROM t")
    next(rows)
    writer.executemany("UPDATE t SET a = ?", [(number,) for number in range(41_000)])
    row = supervised.until("a", lambda row: "wal_large" in codes(row), 30, "said")
    assert f"it may be kept by pid {os.getpid()} (" in row.detail
    supervised.until("a", lambda row: row.state == "ok", 30, "backed up all the same")
    rows.close()

    def is_small(row: Row) -> bool:
        writer.execute("UPDATE t SET a = a + 1")
        return not codes(row)

    supervised.until("a", is_small, 30, "begun anew, and no longer said")
    reader.close()
    writer.close()
