"""Restores from a bucket that is far away: several lines, and nothing is fetched twice."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.settings import child_environment
from tests.conftest import S3
from tests.faults import CutAfter, Slow
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase, write_config
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("restore-far")

#: Each way, and before each piece of what is read.
FAR = Slow(latency_s=0.05)
ROUNDS = 8
#: More than the parts that are read at once could have failed with a single try each.
TRIES = 8
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
