"""The whole restore command with the real Litestream, killed by the kernel at system calls."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Latest
from obelisk_ops.restore.service import Source, restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.settings import child_environment
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase, write_config

#: those that change what is on a disk; strace counts each by itself, in each thread
CALLS = (
    "mkdir", "rmdir", "rename", "renameat", "link", "unlink", "unlinkat", "fsync", "fdatasync",
    "chmod", "fchmodat", "flock", "pwrite64",
)  # fmt: skip
STRACE = shutil.which("strace")
EACH_MAX = 19


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Scene:
    """A backup, and a folder to restore it to."""

    source: Source
    config: Path
    out: Path

    def restored(self, name: str) -> Path:
        """Restore without hindrance."""
        target = self.out / name
        restore(
            self.source, Latest(), target, clock=SystemClock(),
            progress=lambda _done, _whole: None,
        )  # fmt: skip
        return target

    def killed_at(self, call: str, number: int, target: Path) -> bool:
        """Restore by the command, and kill it at a system call; tell whether it came to it."""
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        traced = [str(STRACE), "-f", "-qq", "-o", "/dev/null", *inject]
        program = [sys.executable, "-m", "obelisk_ops", "-c", str(self.config)]
        argv = [*traced, *program, "restore", "run", "--to", str(target), "--json"]
        env = child_environment({})
        return subprocess.run(argv, env=env, capture_output=True, check=False).returncode != 0


@pytest.fixture
def scene(s3: S3, tmp_path: Path) -> Scene:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    database.fill(500)
    database.ship()
    database.close()
    out = tmp_path / "out"
    out.mkdir()
    config = write_config(tmp_path, database.place)
    return Scene(open_source(database.place, "run"), config, out)


@pytest.mark.timeout(600)
@pytest.mark.skipif(STRACE is None, reason="not on this platform: strace")
@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("calls", "most"),
    [(("fsync", "link"), 1), pytest.param(CALLS, EACH_MAX, marks=pytest.mark.chaos)],
    ids=["two of them", "all"],
)
def test_a_restore_that_is_killed_at_any_system_call(
    scene: Scene, calls: tuple[str, ...], most: int
) -> None:
    whole = digest(scene.restored("whole.db"))
    killed, survived = set[str](), 0
    for call in calls:
        for number in range(1, most + 1):
            target = scene.out / f"{call}-{number}.db"
            if not scene.killed_at(call, number, target):
                assert digest(target) == whole, target
                break  # there are no more of them
            killed.add(call)
            if target.exists():
                survived += 1
            else:
                scene.restored(target.name)
                left = f".{target.name}.restoring-*"
                assert not list(scene.out.glob(left)), "the next one sweeps"
            assert digest(target) == whole, target
    assert killed >= {"mkdir", "fsync", "link", "rename", "flock"}.intersection(calls), killed
    assert survived > 1 or most == 1, "some kills came when it was there"
