"""A takeover that is killed between any two of its steps, and the next try."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from obelisk_ops.replica.epochs import Parent, read_epochs
from obelisk_ops.replica.leases import list_leases
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.sidecar import Sidecar
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase, count_rows
from tests.supervised import PROGRAM

ROOT = Path(__file__).parents[2]
#: The root, twice; the lease, the claim; the copy; Litestream's folder, two notes; the marker,
#: the notes again; the end of the lease.
_STEPS_MIN = 8
#: Behind the restore: that is where a second try finds a copy.
_COPIED, _OPENED = 6, 10


def prepare(folder: Path, replica: ReplicaSettings) -> ReplicatedDatabase:
    """Make a replica that nobody owns any more, and a machine that may take it over."""
    (folder / "runs").mkdir(parents=True)
    database = ReplicatedDatabase(folder / "old", replica)
    database.fill(5)
    database.ship()
    place = {
        "url": replica.url, "endpoint": replica.endpoint, "region": replica.region,
        "credentials": replica.credentials,
    }  # fmt: skip
    settings = {
        "replica": place, "databases": [{"path": "runs/*.db"}], "lease": {"ttl": "1s"},
        "host": "new",
    }  # fmt: skip
    (folder / "obelisk-ops.yml").write_text(yaml.safe_dump(settings))
    return database


def take_over(folder: Path, *, dies_before: int = 0) -> subprocess.CompletedProcess[str]:
    """Take the database over; SIGKILL comes before the effect of that number, if any."""
    program = [str(PROGRAM)]
    if dies_before:
        program = [sys.executable, "-m", "tests.fault.dying", str(dies_before)]
    argv = ["-c", str(folder / "obelisk-ops.yml"), "takeover", "run", "--json", "--to"]
    return subprocess.run(
        [*program, *argv, str(folder / "runs" / "run.db")],
        capture_output=True, text=True, timeout=180, check=False, cwd=ROOT,
    )  # fmt: skip


def check(folder: Path, source: ReplicatedDatabase, replica: ReplicaSettings) -> None:
    """The next try succeeds, in one epoch, and leaves nothing behind but the copy."""
    done = take_over(folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["epoch"], told["parent"]) == (2, {"epoch": 1, "txid": 1})
    assert told["checks"], "checked again"
    target = folder / "runs" / "run.db"
    assert count_rows(target) == 5
    marker = read_epochs(source.store, source.keys)[-1]
    assert (marker.epoch, marker.parent) == (2, Parent(epoch=1, txid=1))
    note = Sidecar(target).owner()
    assert note is not None
    assert (note.owner, note.is_marked) == (marker.owner, True)
    assert len(list_leases(source.store, replica.prefix)) <= 1, "of who died, if he had one"
    assert not list(target.parent.glob(".run.db.restoring-*"))


@pytest.mark.parametrize("step", [_COPIED, _OPENED])
def test_a_second_try_takes_up_what_the_first_has_left(
    tmp_path: Path, replica: ReplicaSettings, step: int
) -> None:
    source = prepare(tmp_path, replica)

    died = take_over(tmp_path, dies_before=step)

    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (tmp_path / "runs" / "run.db").exists()
    check(tmp_path, source, replica)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_death_between_any_two_steps(tmp_path: Path, s3: S3) -> None:
    for step in range(1, 40):
        replica = s3.replica()
        source = prepare(tmp_path / str(step), replica)
        died = take_over(tmp_path / str(step), dies_before=step)
        if died.returncode == 0:
            assert step > _STEPS_MIN
            return
        assert died.returncode == -signal.SIGKILL, died.stderr
        check(tmp_path / str(step), source, replica)
    pytest.fail("it never came to its end")
