"""Restores from a bucket that is far away: several lines, and nothing is fetched twice."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Latest
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.restore import aside, fetching
from obelisk_ops.restore.service import make_plan, restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.restore.target import FETCHED
from obelisk_ops.settings import child_environment
from tests.commands import commands_for
from tests.conftest import S3
from tests.faults import CutAfter, Slow
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase, count_rows, write_config
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("restore-far")

#: Each way, and before each piece of what is read.
FAR = Slow(latency_s=0.05)
ROUNDS = 8
#: More than the parts that are read at once could have failed with a single try each.
TRIES = 8
_BEGINNING = 100
#: Some of the objects, and not the last: its beginning is read first of all.
HELD = r"000[4-6]\.ltx$"


@pytest.fixture(scope="module")
def database(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    """A backup of some objects, each of some kilobytes."""
    made = ReplicatedDatabase(tmp_path_factory.mktemp("far"), s3.replica())
    for _ in range(ROUNDS):
        made.fill(100, width=300)
        made.ship()
    made.close()
    return made


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line, line.fault(FAR):
        yield line


def command(folder: Path, database: ReplicatedDatabase, line: Proxy, target: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    config = write_config(folder, replace(database.place, endpoint=line.endpoint))
    program = [sys.executable, "-m", "obelisk_ops", "-c", str(config)]
    return [*program, "restore", "run", "--to", str(target), "--json"]


def restored(
    tmp_path: Path, database: ReplicatedDatabase, line: Proxy, target: Path
) -> subprocess.CompletedProcess[str]:
    argv = command(tmp_path / "config", database, line, target)
    env = child_environment({})
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(database: ReplicatedDatabase, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What Litestream restores that reads the bucket itself."""
    return digest(database.restored(tmp_path_factory.mktemp("near") / "copy.db"))


def objects_read(line: Proxy) -> Counter[str]:
    """Return how often each object was read, by its name."""
    read = (seen.path for seen in line.seen if seen.method == "GET")
    return Counter(path.rpartition("/")[2] for path in read if path.endswith(".ltx"))


@pytest.mark.fault(3, 4)
def test_what_is_far_is_fetched_by_several_lines_and_a_broken_one_is_no_matter(
    database: ReplicatedDatabase, proxy: Proxy, whole: str, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"

    with proxy.fault(CutAfter(2_000), method="GET", path=r"\.ltx$", times=2) as cut:
        done = restored(tmp_path, database, proxy, target)

    assert done.returncode == 0, done.stderr
    assert digest(target) == whole
    assert cut.hits == 2
    assert not any("litestream" in seen.agent for seen in proxy.seen), "it read a folder"
    assert sorted(entry.name for entry in tmp_path.iterdir() if "restoring" in entry.name) == []


@pytest.mark.fault(4)
def test_lines_that_all_break_leave_nothing(
    database: ReplicatedDatabase, proxy: Proxy, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"

    with proxy.fault(CutAfter(2_000), method="GET", path=r"\.ltx$") as cut:
        done = restored(tmp_path, database, proxy, target)

    assert cut.hits > TRIES
    assert done.returncode == 6, done.stderr
    assert "s3_unavailable" in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config"]


@pytest.mark.fault(29)
def test_a_restore_that_is_killed_is_gone_on_with(
    database: ReplicatedDatabase, proxy: Proxy, whole: str, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"
    with proxy.fault(Slow(latency_s=60), path=HELD):
        child = subprocess.Popen(
            command(tmp_path / "config", database, proxy, target),
            env=child_environment({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: len(journal(tmp_path)) >= 4, 20, "some objects are there")
        child.kill()
        child.wait()
    kept = journal(tmp_path)
    proxy.seen.clear()

    done = restored(tmp_path, database, proxy, target)

    assert done.returncode == 0, done.stderr
    assert digest(target) == whole
    read = objects_read(proxy)
    newest = max(read)  # its beginning tells when it was captured
    assert not [name for name in kept if name != newest and name in read], "read once"
    assert len(read) < ROUNDS
    assert sorted(entry.name for entry in tmp_path.iterdir() if "restoring" in entry.name) == []


def journal(folder: Path) -> list[str]:
    """Return the objects that a restore has noted to be there."""
    lines = [line for file in folder.glob(".copy.db.restoring-*/fetched/parts")
             for line in file.read_text().splitlines()]  # fmt: skip
    return [line.split()[1].rpartition("/")[2] for line in lines]


class Compacting:
    """A store in which an object goes to another level when it is to be read."""

    def __init__(self, store: ObjectStore, doomed: str) -> None:
        self._store, self._doomed = store, doomed
        self.into = doomed.replace("/0000/", "/0001/")
        self.read: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        if key == self._doomed:
            self._store.put(self.into, self._store.get(key).body)
            self._store.delete(key)
        self.read[key] += last is None or last > _BEGINNING
        return self._store.get(key, first=first, last=last)


@pytest.mark.fault(36)
def test_what_was_fetched_is_not_fetched_again_when_an_object_goes(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_AT_ONCE", 1)
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    for _ in range(3):
        made.fill(10)
        made.ship()
    made.close()
    source = open_source(made.place, "run", rate=100 << 20)
    # The last come first: when the first is to be read, two are there.
    first, *others, newest = make_plan(source, Latest(), SystemClock()).files
    racing = Compacting(source.store, first.key)
    racing_source = replace(source, store=racing)

    done = restore(
        racing_source, Latest(), tmp_path / "copy.db", clock=SystemClock(),
        progress=lambda *_: None,
    )  # fmt: skip

    assert count_rows(tmp_path / "copy.db") == 30
    assert done.plan.files[0].key == racing.into
    assert [racing.read[file.key] for file in (*others, newest)] == [1, 1]


@pytest.mark.fault(27)
def test_what_was_fetched_and_is_not_read_now_is_room(
    database: ReplicatedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore with a limit that was killed, and is begun again without one."""
    (tmp_path / ".copy.db.restoring-killed" / FETCHED).mkdir(parents=True)
    kept, run = list[bool](), aside.run

    def watched(job: aside.Job, folder: Path, progress: Callable[[int], None]) -> Path:
        kept.append((folder / FETCHED).exists())
        return run(job, folder, progress)

    monkeypatch.setattr(fetching, "FAR_MS", 1 << 30)
    monkeypatch.setattr(aside, "run", watched)

    _ = restore(
        open_source(database.place, "run"), Latest(), tmp_path / "copy.db",
        clock=SystemClock(), progress=lambda *_: None,
    )  # fmt: skip

    assert count_rows(tmp_path / "copy.db") == ROUNDS * 100
    assert kept == [False]


def test_a_limit_is_kept_and_told_before(
    database: ReplicatedDatabase, s3: S3, tmp_path: Path
) -> None:
    """Also of a bucket that is near: then it is fetched first, for Litestream has no limit."""
    commands = commands_for(database.place, tmp_path)
    target = ["restore", "run", "--to", str(tmp_path / "copy.db"), "--rate", "64KiB"]
    planned = commands.run(*target, "--dry-run", "--json").told
    unlimited = commands.run(*target[:-2], "--dry-run", "--json").told
    floor_s = planned["download_bytes"] / (64 << 10)
    assert planned["estimate"]["read_bytes_per_second"] == 64 << 10
    assert planned["estimate"]["seconds"] >= floor_s
    assert planned["needed_bytes"] == unlimited["needed_bytes"] + planned["download_bytes"]
    assert "may be read" in commands.run(*target, "--dry-run").out

    began = time.monotonic()
    commands.run(*target)
    took_s = time.monotonic() - began

    assert took_s >= floor_s - 1, "what is read last, in a second at most, is not waited for"
    assert count_rows(tmp_path / "copy.db") == ROUNDS * 100
    refused = commands.run(*target[:-1], "64kB", "--json")
    assert (refused.status, refused.error["code"]) == (2, "invalid_input")
