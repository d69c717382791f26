"""Drills of backups that are not what was written, and of what cannot be read now."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.restore.drill.result import Drilled, Outcome
from obelisk_ops.restore.drill.scratch import alone_in
from obelisk_ops.restore.drill.service import Terms, drill
from obelisk_ops.restore.drill.trials import Trial
from obelisk_ops.restore.source import open_source
from obelisk_ops.settings import ReplicaSettings
from tests.command import start
from tests.conftest import S3
from tests.damaging import as_it_was
from tests.drilled import workflow_replica
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase, write_config
from tests.support import wait_until

CLOCK = SystemClock()
POINTS = 3


class Quiet:
    """Nobody looks on."""

    def begins(self, name: str, trial: Trial, number: int, of: int) -> None:
        """See Watch."""

    def progress(self, written: int, expected: int) -> None:
        """See Watch."""


def drilled(
    place: ReplicaSettings, folder: Path, name: str = "run", *, limit_s: float = 60
) -> Drilled:
    terms = Terms(folder=folder / "drills", seed=1, limit_s=limit_s)
    with alone_in(terms.folder):
        return drill(open_source(place, name), terms, clock=CLOCK, watch=Quiet())


def plain_replica(folder: Path, place: ReplicaSettings, name: str) -> ReplicatedDatabase:
    """Return a replica of a database that is nobody's: only pages can be checked in it."""
    made = ReplicatedDatabase(folder, place, name)
    for _ in range(POINTS):
        made.fill(20)
        made.ship()
    made.close()
    return made


@pytest.fixture(scope="module")
def made_once(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    return plain_replica(tmp_path_factory.mktemp("plain"), s3.replica(), "run")


@pytest.fixture
def made(made_once: ReplicatedDatabase) -> Iterator[ReplicatedDatabase]:
    """The same for every test, whatever the one before has done to it."""
    with as_it_was(made_once.store, made_once.keys.root):
        yield made_once


Maker = Callable[[Path, ReplicaSettings, str], ReplicatedDatabase]


def of_workflows(folder: Path, place: ReplicaSettings, name: str) -> ReplicatedDatabase:
    return workflow_replica(folder, place, name=name, points=POINTS)


@pytest.mark.fault(17)
@pytest.mark.parametrize("make", [of_workflows, plain_replica])
def test_an_object_of_another_database_under_the_same_name(
    s3: S3, tmp_path: Path, make: Maker
) -> None:
    place = s3.replica()
    ours, theirs = (make(tmp_path / name, place, name) for name in ("run", "other"))

    for txid in range(1, POINTS + 1):
        key = ours.ltx(0, txid, txid)
        own = ours.store.get(key).body
        ours.store.put(key, theirs.store.get(theirs.ltx(0, txid, txid)).body)

        found = drilled(place, tmp_path)

        assert found.outcome is Outcome.FAILED, f"transaction {txid} is another database's"
        assert found.detail
        ours.store.put(key, own)
    assert drilled(place, tmp_path).outcome is Outcome.OK


@pytest.mark.fault(12, 13)
def test_a_damaged_object_makes_it_fail_and_is_named(
    made: ReplicatedDatabase, tmp_path: Path
) -> None:
    key = made.ltx(0, 2, 2)
    sound = made.store.get(key).body

    for damage in (sound[:200] + bytes([sound[200] ^ 1]) + sound[201:], sound[:-40], b""):
        made.store.put(key, damage)
        found = drilled(made.place, tmp_path)
        assert found.outcome is Outcome.FAILED
        assert key in found.detail


@pytest.mark.fault(14)
def test_a_gap_makes_it_fail(made: ReplicatedDatabase, tmp_path: Path) -> None:
    made.store.delete(made.ltx(0, 2, 2))

    found = drilled(made.place, tmp_path)

    assert found.outcome is Outcome.FAILED
    assert "the transactions 2 to 2 of epoch 1 are missing" in found.detail


def test_a_bucket_that_is_away_proves_nothing(private_s3: S3Server, tmp_path: Path) -> None:
    place = ReplicaSettings(
        bucket=private_s3.bucket, prefix="p", endpoint=private_s3.endpoint,
        region=private_s3.region, credentials=f"file:{private_s3.credentials_file}",
    )  # fmt: skip
    plain_replica(tmp_path / "run", place, "run")
    private_s3.stop(kill=True)

    assert drilled(place, tmp_path).outcome is Outcome.INCONCLUSIVE


def test_keys_that_are_refused_prove_nothing(made: ReplicatedDatabase, tmp_path: Path) -> None:
    wrong = tmp_path / "keys"
    wrong.touch(mode=0o600)
    wrong.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n")

    found = drilled(replace(made.place, credentials=f"file:{wrong}"), tmp_path)

    assert found.outcome is Outcome.INCONCLUSIVE


@pytest.mark.fault(27)
def test_too_little_space_proves_nothing(
    made: ReplicatedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "obelisk_ops.restore.drill.service.shutil.disk_usage",
        lambda _folder: SimpleNamespace(free=1 << 16),
    )

    found = drilled(made.place, tmp_path)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert "free, a copy needs" in found.detail


def test_a_litestream_that_is_killed_proves_nothing(
    made: ReplicatedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "litestream"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o700)
    monkeypatch.setattr("obelisk_ops.restore.aside.program.find", lambda: killed)

    found = drilled(made.place, tmp_path)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert "ended by signal 9" in found.detail


def test_what_a_killed_drill_leaves_the_next_one_removes(s3: S3, tmp_path: Path) -> None:
    made = ReplicatedDatabase(tmp_path / "run", s3.replica())
    made.fill(4_000, width=1_000)
    made.ship()
    made.close()
    folder = tmp_path / ".obelisk-ops" / "drills"

    def copies() -> list[str]:
        return sorted(p.name for p in folder.glob("copy-*")) if folder.is_dir() else []

    with Proxy(int(s3.endpoint.rpartition(":")[2]), hold_after=1 << 20) as line:
        config = write_config(tmp_path, replace(made.place, endpoint=line.endpoint))
        with start("-c", config, "replica", "drill", "run") as child:
            wait_until(copies, 20, "a copy is being made, and goes on for ever")
            os.kill(child.pid, signal.SIGKILL)
            child.wait(timeout=120)
    left = copies()
    assert left
    assert [(folder / name).stat().st_mode & 0o777 for name in left] == [0o700]

    with alone_in(folder):
        assert copies() == []
