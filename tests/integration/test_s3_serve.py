"""`obelisk-ops s3 serve` as a program."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.settings import ReplicaSettings
from tests.support import runs, wait_until

SERVE = [sys.executable, "-m", "obelisk_ops", "s3", "serve"]


@dataclass
class Serving:
    process: subprocess.Popen[str]

    @functools.cached_property
    def said(self) -> dict[str, Any]:
        """What it prints when it is ready; waited for here, so that two start side by side."""
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def store(self) -> ObjectStore:
        return open_store(
            ReplicaSettings(
                bucket=self.said["bucket"],
                prefix="",
                endpoint=self.said["endpoint"],
                region=self.said["region"],
                credentials=f"file:{self.said['credentials_file']}",
            )
        )

    def end(self, sign: int) -> int:
        self.process.send_signal(sign)
        return self.process.wait(timeout=120)


@contextmanager
def serving(*options: str) -> Iterator[Serving]:
    with subprocess.Popen(
        [*SERVE, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()


def test_two_servers_run_side_by_side_and_one_keeps_its_data(tmp_path: Path) -> None:
    kept = ["--dir", str(tmp_path / "kept"), "--bucket", "mine"]
    with serving("--json") as passing, serving(*kept) as staying:
        assert passing.said.keys() >= {
            "endpoint", "access_key_id", "secret_access_key", "bucket", "region", "pid",
        }  # fmt: skip
        assert staying.said["bucket"] == "mine"
        assert passing.said["pid"] == passing.process.pid
        passing.store().put("a", b"1")
        staying.store().put("a", b"2")
        assert (passing.store().get("a").body, staying.store().get("a").body) == (b"1", b"2")

        assert passing.end(signal.SIGTERM) == 0
        assert not Path(passing.said["dir"]).exists()
        assert staying.store().get("a").body == b"2"
        assert staying.end(signal.SIGINT) == 0

    with serving(*kept) as again:
        assert again.said["secret_access_key"] == staying.said["secret_access_key"]
        assert again.store().get("a").body == b"2"
        (server,) = psutil.Process(again.process.pid).children()
        os.kill(again.process.pid, signal.SIGKILL)
        # The server does not outlive the command, however that ends.
        wait_until(lambda: not runs(server), 5, "the server has ended")


def test_a_server_that_dies_ends_the_command_with_its_last_words(tmp_path: Path) -> None:
    with serving("--dir", str(tmp_path)) as serve:
        assert serve.said
        (server,) = psutil.Process(serve.process.pid).children()
        server.kill()

        _, errors = serve.process.communicate(timeout=180)

    assert serve.process.returncode == 6
    assert "has ended by itself" in errors


@pytest.mark.parametrize(
    "options",
    [["--port", "70000"], ["--port", "x"], ["--bucket", "No_Bucket"], ["--dir", __file__]],
)
def test_an_option_that_cannot_be_is_a_usage_error(options: list[str]) -> None:
    done = subprocess.run(
        [*SERVE, *options], capture_output=True, text=True, timeout=180, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: " in done.stderr
