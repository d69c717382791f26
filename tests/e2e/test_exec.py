"""``exec``, the entrypoint of a container, on a real bucket."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import boto3
import psutil
import pytest

from obelisk_ops.objectstore import open_store
from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.entry import Entry
from tests.replicas import count_rows
from tests.supervised import PROGRAM
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("exec")


def test_an_empty_bucket_is_a_first_boot(
    tmp_path: Path, s3: S3, replica: ReplicaSettings
) -> None:
    bucket = f"fresh-{uuid.uuid4().hex[:8]}"
    boto3.client(
        "s3", endpoint_url=s3.endpoint, region_name=s3.region,
        aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key,
    ).create_bucket(Bucket=bucket)  # fmt: skip
    entry = Entry(tmp_path, replace(replica, bucket=bucket))

    first = entry.run()
    entry.lose_the_disk()
    second = entry.run()

    assert (first.returncode, first.stdout) == (0, "1\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, "2\n"), second.stderr


def test_a_life_on_a_volume_and_after_its_loss(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    entry = Entry(tmp_path, replica)
    open_store(replica).put("another/thing", b"")  # an empty bucket would be a first boot

    refused = entry.run()
    assert refused.returncode == 7
    assert (
        f"neither a file {entry.database} nor a backup at {replica.url}/orders"
        in refused.stderr
    )
    assert "--first-boot" in refused.stderr
    assert not entry.database.exists()

    # Said once, it is remembered: nothing was made of it, and the next start may begin.
    assert entry.run("--first-boot", argv=["true"]).returncode == 0
    first = entry.run()
    assert (first.returncode, first.stdout) == (0, "1\n"), first.stderr
    assert "everything up to transaction 1 is in the bucket" in first.stderr

    second = entry.run()
    assert (second.returncode, second.stdout) == (0, "2\n"), second.stderr
    assert "restored" not in second.stderr

    shutil.rmtree(entry.volume)
    third = entry.run("--restore", "orders")
    assert (third.returncode, third.stdout) == (0, "3\n"), third.stderr
    assert "orders: restored to e0001/txid:" in third.stderr

    copy = tmp_path / "copy.db"
    subprocess.run(
        [PROGRAM, "-c", tmp_path / "obelisk-ops.yml", "restore", "orders", "--to", copy],
        check=True,
    )
    assert count_rows(copy) == 3


@pytest.mark.parametrize(
    ("script", "status"), [("exit 7", 7), ("kill -KILL $$", 137)], ids=["its own", "a signal"]
)
def test_the_status_is_that_of_the_command(
    script: str, status: int, tmp_path: Path, replica: ReplicaSettings
) -> None:
    done = Entry(tmp_path, replica, databases=[]).run(argv=["sh", "-c", script])

    assert (done.returncode, done.stdout) == (status, "")


def test_signals_reach_the_command_and_its_end_ships_the_rest(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    with Entry(tmp_path, replica).start("--first-boot") as entry:
        for number in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGHUP):
            entry.process.send_signal(number)
            wait_until(lambda name=number.name: f"{name}\n" in entry.out, 5, number.name)  # type: ignore[misc]
        wait_until(lambda: entry.logged("reloaded"), 5, "it has read its configuration again")
        assert psutil.Process(entry.process.pid).children()
        entry.process.terminate()

        assert entry.ended() == 5
        assert entry.out.endswith("SIGTERM\n")
        assert [line["detail"] for line in entry.logged("stopped")] == [
            "everything up to transaction 1 is in the bucket"
        ]


def test_orphans_are_collected(tmp_path: Path, replica: ReplicaSettings) -> None:
    """What process 1 does, tried with another number: orphans come to it, and are not kept."""
    script = (
        "(sleep 60 & echo $!); echo ready; trap 'exit 9' TERM; while :; do sleep 0.05; done"
    )
    with Entry(tmp_path, replica, databases=[]).start(
        "--init", argv=["sh", "-c", script]
    ) as entry:
        orphan = psutil.Process(int(entry.out.split()[0]))
        wait_until(lambda: orphan.ppid() == entry.process.pid, 5, "it has come to the init")
        orphan.kill()
        wait_until(lambda: not psutil.pid_exists(orphan.pid), 5, "it is collected")

        entry.process.terminate()
        assert entry.ended() == 9


def test_the_command_has_the_terminal(tmp_path: Path, replica: ReplicaSettings) -> None:
    entry = Entry(tmp_path, replica, databases=[])
    script = "echo what?; read word; echo got $word; exec sleep 60"
    pid, terminal = pty.fork()
    if pid == 0:
        command = entry.command([], ["sh", "-c", script])
        os.execv(command[0], command)  # noqa: S606 - it is the child of a fork
    try:
        read_until(terminal, "what?")
        os.write(terminal, b"this\n")
        read_until(terminal, "got this")
        os.write(terminal, b"\x03")  # Ctrl-C
        read_until(terminal, "command_ended")
        _, ended = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(ended) == 130
    finally:
        os.close(terminal)


def read_until(terminal: int, words: str) -> None:
    seen = b""
    while words.encode() not in seen:
        piece = os.read(terminal, 4096)
        assert piece, seen
        seen += piece
