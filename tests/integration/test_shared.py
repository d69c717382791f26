"""Databases that share a Litestream process: real ones, with a real S3 server."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.status import Row
from tests.replicas import count_rows
from tests.supervised import PROGRAM, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise")

#: Sooner than the longest that a change of a group is waited with, for others to come.
NEWCOMER_S = 15
SHARED = {"topology": "shared", "databases_per_process": 4}


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        running.configure(replica, litestream=SHARED)
        yield running


def all_safe(supervised: Supervised, count: int) -> dict[str, Row]:
    """Wait until so many databases are safe; return what status says of them."""
    found: dict[str, Row] = {}

    def probe() -> bool:
        found.update(supervised.status()[0])
        return len(found) == count and all(map(is_safe, found.values()))

    wait_until(probe, 20, f"{count} databases are safe")
    return found


def safe_after_s(supervised: Supervised, name: str) -> float:
    """Return how long it takes until a new database is safe."""
    supervised.database(name).write()
    began = time.monotonic()
    supervised.until_safe(name)
    return time.monotonic() - began


def test_a_change_of_the_set_restarts_only_the_process_concerned(
    supervised: Supervised,
) -> None:
    databases = {name: supervised.database(name) for name in "abcde"}
    for database in databases.values():
        database.write(3)
    supervised.start()
    before = all_safe(supervised, 5)

    databases["a"].write(2)
    # A busy machine may hold one of them up for a moment: the other one is in time.
    assert min(safe_after_s(supervised, name) for name in "fg") < NEWCOMER_S
    after = all_safe(supervised, 7)

    assert len({row.pid for row in before.values()}) == 2
    assert [before[name].pid for name in "abcde"] == [after[name].pid for name in "abcde"]
    assert after["f"].pid == after["g"].pid not in {row.pid for row in before.values()}
    assert {row.epoch for row in after.values()} == {1}
    # One start of each group, and one for each newcomer.
    assert len(supervised.logged("litestream_started")) == 4
    assert not supervised.logged("litestream_killed")

    status, said = supervised.stop()

    assert status == 0, said
    copy = supervised.folder / "copy.db"
    subprocess.run(
        [PROGRAM, "-c", supervised.config, "restore", "a", "--to", copy], check=True, timeout=60
    )
    assert count_rows(copy) == 5


def test_newcomers_move_on_together_and_lose_no_commit(supervised: Supervised) -> None:
    """They change their process while one is written; `status` never loses sight of them."""
    databases = {name: supervised.database(name) for name in "abcd"}
    for database in databases.values():
        database.write()
    supervised.start()
    before = all_safe(supervised, 4)

    supervised.database("e").write()
    written = 1

    def is_done() -> bool:
        nonlocal written
        databases["a"].write()
        written += 1
        rows = supervised.status()[0]
        assert rows.keys() >= set("abcd")
        assert {row.state for row in rows.values()} <= {"ok", "lagging", "starting"}
        return "e" in rows and is_safe(rows["e"]) and rows["a"].pid not in {None, first}

    first = before["a"].pid
    wait_until(is_done, 20, "e is safe, and the others have another process")
    after = all_safe(supervised, 5)

    assert len({row.pid for row in before.values()}) == 1
    assert len({after[name].pid for name in "abcd"}) == 1
    assert after["e"].pid != after["a"].pid
    assert {row.epoch for row in after.values()} == {1}
    assert len(supervised.logged("litestream_started")) == 3, "those who move are started once"
    assert not supervised.logged("litestream_killed")
    supervised.stop()
    copy = supervised.folder / "copy.db"
    subprocess.run(
        [PROGRAM, "-c", supervised.config, "restore", "a", "--to", copy], check=True, timeout=60
    )
    assert count_rows(copy) == written


@pytest.mark.fault(25)
def test_a_reload_touches_only_what_changed(
    supervised: Supervised, replica: ReplicaSettings
) -> None:
    def reload(names: str, **litestream: object) -> None:
        databases = [{"path": f"runs/{name}.db", "name": name} for name in names]
        supervised.configure(replica, databases=databases, litestream=SHARED | litestream)
        before = len(supervised.logged("reloaded"))
        supervised.tell(signal.SIGHUP)
        wait_until(lambda: len(supervised.logged("reloaded")) > before, 5, "read again")

    for name in "abcde":
        supervised.database(name).write()
    supervised.start()
    first = all_safe(supervised, 5)

    reload("abcd")
    second = all_safe(supervised, 4)
    wait_until(lambda: len(set(supervised.litestreams.values())) == 1, 10, "e is let go")
    good = supervised.config.read_text()
    supervised.config.write_text("nonsense: 1")
    supervised.tell(signal.SIGHUP)
    wait_until(lambda: supervised.logged("reload_failed"), 5, "refused")
    supervised.config.write_text(good)
    third = all_safe(supervised, 4)
    reload("abcd", sync_interval="500ms")
    supervised.until("a", lambda row: row.pid not in {first["a"].pid, None}, 10, "replaced")
    fourth = all_safe(supervised, 4)
    reload("abcd", topology="per-database")
    wait_until(lambda: set(supervised.litestreams) == set("abcd"), 15, "each its own")
    fifth = all_safe(supervised, 4)

    pids = [{row.pid for row in rows.values()} for rows in (second, third, fourth, fifth)]
    assert pids[0] == pids[1] == {first["a"].pid}, "what did not change is left alone"
    assert [len(some) for some in pids] == [1, 1, 1, 4]
    assert {row.epoch for row in fifth.values()} == {1}
    assert (
        supervised.logged("reloaded")[0] | {"removed": 1, "added": 0}
        == (supervised.logged("reloaded")[0])
    )
