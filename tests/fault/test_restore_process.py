"""Restores whose process is killed, stopped or hindered: a complete copy, or nothing."""

from __future__ import annotations

import hashlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.settings import ReplicaSettings, child_environment
from tests.conftest import S3
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase, write_config
from tests.support import PATIENCE_S, wait_until


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def command(config: Path, target: Path) -> list[str]:
    return [
        sys.executable, "-m", "obelisk_ops", "-c", str(config), "restore", "run", "--to",
        str(target), "--json",
    ]  # fmt: skip


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder that copies go to."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def larger(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    """Large enough that the steps of a restore can be told apart in time."""
    made = ReplicatedDatabase(tmp_path_factory.mktemp("larger"), s3.replica())
    made.fill(20_000, width=300)
    made.ship()
    made.close()
    return made


@contextmanager
def slowed(database: ReplicatedDatabase) -> Iterator[ReplicaSettings]:
    """Hold back most of its backup: a restore is at work until it is stopped."""
    assert database.place.endpoint is not None
    port = int(database.place.endpoint.rpartition(":")[2])
    with Proxy(port, hold_after=1 << 20) as line:
        yield replace(database.place, endpoint=line.endpoint)


@contextmanager
def at_work(config: Path, target: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a restore, and give it when it writes; it has ended when the block is left."""
    place = f".{target.name}.restoring-*"

    def writes() -> bool:
        # On a busy machine its bucket seems far: then the objects are fetched first.
        files = [*target.parent.glob(f"{place}/*.tmp"), *target.parent.glob(f"{place}/*/parts")]
        return bool(files)

    with subprocess.Popen(
        command(config, target), env=child_environment({}),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        try:
            wait_until(writes, 20, "the restore is at work")
            yield child
        finally:
            child.kill()


@pytest.mark.fault(27)
def test_a_full_disk_leaves_nothing(
    larger: ReplicatedDatabase, tmp_path: Path, out: Path
) -> None:
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    config = write_config(tmp_path, larger.place)

    done = subprocess.run(
        command(config, out / "copy.db"),
        # Else Python itself leaves compiled modules behind that are cut at the limit.
        env=child_environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        preexec_fn=small_files_only,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 6, done.stderr
    assert "storage_unavailable" in done.stderr
    assert left_in(out) == []


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([0.5, 0.8, 0.94, 1.02], id="some"),
        pytest.param([n / 40 for n in range(8, 44)], id="many", marks=pytest.mark.chaos),
    ],
)
def test_a_killed_restore_leaves_all_or_nothing(
    larger: ReplicatedDatabase, tmp_path: Path, out: Path, moments: list[float]
) -> None:
    """SIGKILL at moments over the whole run; the next restore sweeps and succeeds."""
    config, env = write_config(tmp_path, larger.place), child_environment({})
    began = time.monotonic()
    subprocess.run(command(config, out / "whole.db"), env=env, check=True, capture_output=True)
    lasts = time.monotonic() - began
    whole = digest(out / "whole.db")
    complete = 0

    for share in moments:
        target = out / f"{share}.db"
        began = time.monotonic()
        child = subprocess.Popen(
            command(config, target), env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            child.wait(timeout=share * lasts)
            lasts = min(lasts, time.monotonic() - began)  # the machine was busy until now
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if target.exists():
            complete += 1
            assert digest(target) == whole, f"half a copy when killed at {share}"

    assert complete < len(moments), "no kill came in time"


def test_what_a_killed_restore_left_is_swept_by_the_next(
    larger: ReplicatedDatabase, tmp_path: Path, out: Path
) -> None:
    config, env = write_config(tmp_path, larger.place), child_environment({})
    target = out / "again.db"
    with slowed(larger) as place:
        slow = write_config(tmp_path, place, "slow.yml")
        with at_work(slow, target) as child:
            child.send_signal(signal.SIGKILL)
    assert not target.exists()
    assert list(out.glob(".again.db.restoring-*"))

    subprocess.run(command(config, target), env=env, check=True, capture_output=True)

    assert target.exists()
    assert not list(out.glob(".again.db.restoring-*"))


def test_a_terminated_restore_cleans_up(
    larger: ReplicatedDatabase, tmp_path: Path, out: Path
) -> None:
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with slowed(larger) as place:
            with at_work(write_config(tmp_path, place), out / "copy.db") as child:
                child.send_signal(number)

                assert child.wait(PATIENCE_S) == status
            assert left_in(out) == []
