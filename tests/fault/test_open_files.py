"""Too few files may be open: it is said, nothing is ok that is not, nothing is damaged."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from obelisk_ops.errors import Unproven
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.status import Row
from tests.replicas import count_rows
from tests.supervised import PROGRAM, Plain, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise")


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        running.configure(replica, litestream={"topology": "shared"})
        yield running


def restored_rows(supervised: Supervised, name: str) -> int:
    copy = supervised.folder / f"{name}.copy.db"
    subprocess.run(
        [PROGRAM, "-c", supervised.config, "restore", name, "--to", copy],
        check=True,
        timeout=60,
    )
    return count_rows(copy)


def made(supervised: Supervised, count: int) -> dict[str, Plain]:
    names = [f"db-{number:02}" for number in range(count)]
    databases = {name: supervised.database(name) for name in names}
    for database in databases.values():
        database.write(3)
    return databases


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """Let a process open no file besides those that it has open, for a while."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # What is open stays open; a new one would get a number that is not below this.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.fault(35)
def test_a_limit_below_the_fleet_leaves_out_what_does_not_fit_and_says_so(
    supervised: Supervised,
) -> None:
    databases = made(supervised, 11)

    # 64 are kept free, so eight of them fit; and one Litestream serves five at most.
    supervised.start(files=72)

    def said() -> tuple[dict[str, Row], int] | None:
        rows, status = supervised.status()
        unknown = sum(row.state == "unknown" for row in rows.values())
        is_all = (sum(map(is_safe, rows.values())), unknown) == (8, 3)
        return (rows, status) if is_all else None

    found = wait_until(said, 30, "eight are safe, and of three nothing is known")
    assert found is not None
    rows, status = found
    left_out = [row for row in rows.values() if not is_safe(row)]
    warned = supervised.logged("open_files")

    assert status == 4
    assert {row.reason for row in left_out} == {"too_many_files"}
    assert all("72 files may be open" in row.detail for row in rows.values())
    assert all("LimitNOFILE" in row.detail for row in rows.values())
    assert {row.replica_txid for row in left_out} == {None}
    assert len(warned) == 1
    assert "LimitNOFILE" in warned[0]["hint"]

    supervised.stop()
    for database in databases.values():
        database.write()
    supervised.start()
    for name in databases:
        row = supervised.until_safe(name, 30)
        assert not row.detail
    assert restored_rows(supervised, left_out[0].name) == 4
    assert restored_rows(supervised, next(n for n in rows if is_safe(rows[n]))) == 4


@pytest.mark.fault(35)
def test_files_that_run_out_while_it_runs(supervised: Supervised) -> None:
    """First in Litestream, which says so; then in the supervisor, which can say nothing."""
    databases = made(supervised, 2)
    supervised.start()
    pid = supervised.until_safe("db-00").pid
    supervised.until_safe("db-01")
    assert pid is not None

    with no_more_files(pid):
        databases["db-00"].write(2)
        row = supervised.until(
            "db-00",
            lambda row: row.state == "lagging" and "too many open files" in row.detail,
            30,
            "what is unsent is said, and why",
        )
    supervised.until_safe("db-00", 30)
    with no_more_files(supervised.pid):
        databases["db-01"].write(2)
        with pytest.raises(Unproven, match="does not answer"):
            supervised.status()
    supervised.until_safe("db-01", 30)

    assert row.unsent_transactions
    assert {row.epoch for row in supervised.status()[0].values()} == {1}
    assert not supervised.logged("bug")
    assert [restored_rows(supervised, name) for name in databases] == [5, 5]
