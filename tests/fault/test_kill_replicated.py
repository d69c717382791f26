"""
A busy writer is killed again and again while Litestream reads its write-ahead log.

The replica must equal the database, row by row: a kill between "written to the log" and
"entered into its index" once left replicas that were stuck, or a mixture of pages.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage import open_reader
from tests.conftest import S3
from tests.proxy import Proxy
from tests.supervised import PROGRAM, Supervised
from tests.support import wait_until

SCRIPT = Path(__file__).with_name("busy.py")
LIFE_S = (0.15, 0.5)


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.chaos)])
@pytest.mark.timeout(900)
def test_a_replica_survives_kills_of_its_writer(
    tmp_path: Path, replica: ReplicaSettings, kills: int
) -> None:
    seed = int(os.environ.get("OBELISK_OPS_TEST_SEED") or random.randrange(2**32))
    print(f"OBELISK_OPS_TEST_SEED={seed}")  # noqa: T201 - shown when it fails
    chance = random.Random(seed)
    source = tmp_path / "runs" / "busy.db"
    source.parent.mkdir()

    with Supervised(tmp_path, replica) as supervised:
        supervised.start()
        for _ in range(kills):
            write_for_a_while(source, chance.uniform(*LIFE_S))
        subprocess.run(
            [sys.executable, str(SCRIPT), str(source), "end"], check=True, timeout=180
        )
        supervised.until_safe("busy", 60)
        supervised.stop()
        copy = tmp_path / "copy.db"
        restored = subprocess.run(
            [PROGRAM, "-c", supervised.config, "restore", "busy", "--to", copy],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip

    assert restored.returncode == 0, restored.stderr
    assert logs(copy) == logs(source)


@pytest.mark.parametrize(
    ("pace", "outage_s", "end"),
    [
        ("steadily", 5, "killed"),
        pytest.param("at full speed", 5, "killed", marks=pytest.mark.chaos),
        pytest.param("steadily", 60, "killed", marks=pytest.mark.chaos),
        pytest.param("at full speed", 60, "killed", marks=pytest.mark.chaos),
        pytest.param("at full speed", 60, "closed", marks=pytest.mark.chaos),
    ],
)
@pytest.mark.timeout(600)
def test_a_workflow_writes_on_while_s3_is_away(
    tmp_path: Path, s3: S3, replica: ReplicaSettings, pace: str, outage_s: float, end: str
) -> None:
    source = tmp_path / "runs" / "busy.db"
    source.parent.mkdir()
    with (
        Proxy(int(s3.endpoint.rpartition(":")[2])) as line,
        Supervised(tmp_path, replace(replica, endpoint=line.endpoint)) as supervised,
    ):
        supervised.start()
        with subprocess.Popen([sys.executable, str(SCRIPT), str(source), pace]) as writer:
            supervised.until("busy", lambda row: row.state == "ok", 20, "ok while it writes")
            line.set("refuse")
            began = time.monotonic()
            away = supervised.until("busy", lambda row: row.state != "ok", 15, "not ok")
            wait_until(lambda: time.monotonic() > began + outage_s, outage_s + 5, "the outage")
            if end == "closed":
                line.set("pass")
                supervised.until("busy", lambda row: row.replica_txid, 60, "shipping again")
                writer.send_signal(signal.SIGINT)
                assert writer.wait(timeout=120) == 0
            else:
                writer.terminate()  # unhandled: most often in the middle of a commit
        line.set("pass")
        supervised.until_safe("busy", 120)
        supervised.stop()
        copy = tmp_path / "copy.db"
        restored = subprocess.run(
            [PROGRAM, "-c", supervised.config, "restore", "busy", "--to", copy],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip

    assert away.detail
    assert restored.returncode == 0, restored.stderr
    assert logs(copy) == logs(source)


def write_for_a_while(source: Path, seconds: float) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(source)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"up\n"
        time.sleep(seconds)  # not a wait for anything: the moment of the kill is the point
        writer.kill()


def logs(path: Path) -> dict[str, list[Event]]:
    with closing(open_reader(path)) as reader:
        rows = reader.executions(ExecutionFilter())
        return {row.id: reader.log(row.key) for row in rows}
