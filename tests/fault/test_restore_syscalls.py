"""The whole restore command with the real Litestream, killed by the kernel at system calls."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from obelisk_ops.settings import child_environment
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase, write_config

#: those that change what is on a disk; strace counts each by itself, in each thread
CALLS = (
    "mkdir", "rmdir", "rename", "renameat", "link", "unlink", "unlinkat", "fsync", "fdatasync",
    "chmod", "fchmodat", "flock", "pwrite64",
)  # fmt: skip
STRACE = shutil.which("strace")
EACH_MAX = 20


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.skipif(STRACE is None, reason="not on this platform: strace")
@pytest.mark.fault(29)
def test_a_restore_that_is_killed_at_any_system_call(s3: S3, tmp_path: Path) -> None:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    database.fill(500)
    database.ship()
    database.close()
    config = write_config(tmp_path, database.place)
    out = tmp_path / "out"
    out.mkdir()

    def command(target: Path) -> list[str]:
        program = [sys.executable, "-m", "obelisk_ops", "-c", str(config)]
        return [*program, "restore", "run", "--to", str(target), "--json"]

    env = child_environment({})
    subprocess.run(command(out / "whole.db"), env=env, check=True, capture_output=True)
    whole = digest(out / "whole.db")
    killed, survived = set[str](), 0
    for call in CALLS:
        for fatal in range(1, EACH_MAX):
            target = out / f"{call}-{fatal}.db"
            inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={fatal}"]
            argv = [str(STRACE), "-f", "-qq", "-o", "/dev/null", *inject, *command(target)]

            done = subprocess.run(argv, env=env, capture_output=True, check=False)

            if done.returncode == 0:
                assert digest(target) == whole, target
                break  # there are no more of them
            killed.add(call)
            if target.exists():
                assert digest(target) == whole, target
                survived += 1
            else:
                subprocess.run(command(target), env=env, check=True, capture_output=True)
                assert digest(target) == whole, target
                assert not list(out.glob(f".{target.name}.restoring-*")), "the next one sweeps"
    assert killed >= {"mkdir", "fsync", "link", "rename", "flock"}, killed
    assert survived > 1, "some kills came when it was there"
