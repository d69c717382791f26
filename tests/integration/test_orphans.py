"""A Litestream whose supervisor is no more: ended before another one is started, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from obelisk_ops.litestream import program
from obelisk_ops.settings import (
    ReplicaSettings,
    child_environment,
    credential_environment,
)
from obelisk_ops.supervise.orphans import end_orphans
from tests.supervised import Supervised
from tests.support import runs, wait_until

pytestmark = pytest.mark.xdist_group("supervise")


def litestream_like(folder: Path, config: Path) -> subprocess.Popen[bytes]:
    """Start something whose arguments are those of a Litestream."""
    (folder / "replicate").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    started = subprocess.Popen(
        [sys.executable, "replicate", "-config", config, "-no-expand-env"],
        cwd=folder,
        stdout=subprocess.PIPE,
    )
    assert started.stdout
    started.stdout.readline()
    return started


def test_only_what_was_started_from_this_state_folder_is_ended(tmp_path: Path) -> None:
    configs, others = tmp_path / "state/litestream", tmp_path / "other/litestream"
    with (
        litestream_like(tmp_path, configs / "a.yml") as ours,
        litestream_like(tmp_path, others / "a.yml") as stranger,
    ):
        try:
            assert end_orphans(configs) == [ours.pid]
            assert not psutil.pid_exists(ours.pid)
            assert stranger.poll() is None
        finally:
            ours.kill()
            stranger.kill()


@pytest.mark.fault(21)
def test_a_litestream_that_outlived_its_supervisor_is_ended_before_the_next_one_starts(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    """As on macOS, where the kernel does not end it."""
    with Supervised(tmp_path, replica) as supervised:
        database = supervised.database("a")
        database.write()
        supervised.start()
        supervised.until_safe("a")
        ended = psutil.Process(supervised.litestreams["a"])
        supervised.crash()
        wait_until(lambda: not runs(ended), 5, "its Litestream has ended")
        config = tmp_path / ".obelisk-ops/litestream/a.yml"
        argv = program.replicate_argv(program.find(), config)
        env = child_environment(credential_environment(replica))
        with subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL) as orphan:
            wait_until(
                lambda: (
                    any("meta" in file.path for file in psutil.Process(orphan.pid).open_files())
                    or psutil.Process(orphan.pid).net_connections("unix")
                ),
                10,
                "it runs",
            )
            database.write()
            supervised.start()

            assert orphan.wait(timeout=120) == -9
        row = supervised.until("a", lambda row: (row.replica_txid or 0) >= 2, 10, "goes on")

        assert row.epoch == 1
        assert [told["pid"] for told in supervised.logged("orphan_killed")] == [orphan.pid]
        running = [p for p in psutil.process_iter() if str(config) in _argv(p)]
        assert [p.pid for p in running] == [supervised.litestreams["a"]]


def _argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
