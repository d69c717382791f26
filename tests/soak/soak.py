"""
Fifty databases, random faults and kills, for as long as it is told: nothing lost, nothing left.

In the first half the supervisor is killed too. In the second it lives, through everything else:
what grows all the time shows in one life, and not in many short ones.

`make test-soak` runs it for half an hour, `SOAK_MINUTES=3 make test-soak` for three minutes.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest

from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.faults import CutAfter, Fault, Refused, ShortList, Slow
from tests.proxy import Mode, Proxy
from tests.supervised import PROGRAM, Plain, Supervised, is_safe

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
SEED = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(1 << 32))))
DATABASES = int(os.environ.get("SOAK_DATABASES", "50"))

pytestmark = pytest.mark.timeout(MINUTES * 60 + 1_800)

MODES: tuple[Mode, ...] = ("refuse", "blackhole", "reset")
FAULTS: tuple[Fault, ...] = (
    Refused(503, "SlowDown"), Refused(403, "AccessDenied"), Refused(500, "InternalError"),
    Slow(latency_s=0.05, rate=200_000), CutAfter(0), CutAfter(300), ShortList(3),
)  # fmt: skip


#: What a supervisor may take on more than at rest, when it starts in the middle of faults; and
#: what it may still have of faults when they are over.
BURST_MAX, GROWTH_MAX = 64 << 20, 32 << 20

Rows: TypeAlias = list[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the supervisor and its children use."""

    processes: int
    descriptors: int
    memory: int
    files: int

    def __str__(self) -> str:
        size = self.memory >> 20
        return (
            f"{self.processes} processes, {self.descriptors} descriptors, {size} MiB, "
            f"{self.files} temporary files"
        )


class Soak:
    """A fleet, and what is done to it. Everything random comes from one seed."""

    def __init__(self, supervised: Supervised, proxy: Proxy) -> None:
        self.chance = random.Random(SEED)
        self.supervised, self.proxy = supervised, proxy
        self.databases: dict[str, Plain] = {}

    def begin(self) -> None:
        for number in range(DATABASES):
            name = f"db{number:02}"
            self.databases[name] = self.supervised.database(name)
            self.databases[name].write()
        self.supervised.start()
        self.settle()

    def write(self) -> None:
        """Commit here and there."""
        for database in self.chance.sample(list(self.databases.values()), 5):
            database.write(self.chance.randrange(1, 20))

    def suffer(self, minutes: float, *, kills_supervisor: bool) -> None:
        """Do one bad thing after the other for so long, and let everything settle."""
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            self.pause(self.chance.uniform(0.5, 4))
            done = self.disturb(kills_supervisor=kills_supervisor)
            say(f"{until - time.monotonic():6.0f} s left: {done}; {self.footprint()}")
        self.settle()

    def disturb(self, *, kills_supervisor: bool) -> str:
        """Do one bad thing; return its name."""
        deeds: list[Callable[[], str]] = [
            self.cut_line, self.break_requests, self.kill_litestream, self.freeze_litestream,
            self.kill_supervisor,
        ]  # fmt: skip
        weights = (3, 6, 6, 1, 1 if kills_supervisor else 0)
        return self.chance.choices(deeds, weights=weights)[0]()

    def cut_line(self) -> str:
        mode = self.chance.choice(MODES)
        self.proxy.set(mode)
        self.pause(self.chance.uniform(1, 12))
        self.proxy.set("pass")
        return mode

    def break_requests(self) -> str:
        fault = self.chance.choice(FAULTS)
        # A listing that stays short is not a disturbance but a loss; see test_lost_objects.
        longest = 2 if isinstance(fault, ShortList) else 12
        with self.proxy.fault(fault):
            self.pause(self.chance.uniform(0.5, longest))
        return str(fault)

    def kill_litestream(self) -> str:
        pids = list(self.supervised.litestreams.values())
        for pid in self.chance.sample(pids, min(len(pids), self.chance.randrange(1, 4))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return "Litestream killed"

    def freeze_litestream(self) -> str:
        pids = list(self.supervised.litestreams.values())
        for pid in self.chance.sample(pids, min(len(pids), 1)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return "Litestream frozen"

    def kill_supervisor(self) -> str:
        self.supervised.crash()
        self.pause(self.chance.uniform(0, 3))
        self.supervised.start()
        return "supervisor killed"

    def pause(self, seconds: float) -> None:
        """Go on writing for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.write()
            time.sleep(0.1)

    def settle(self) -> None:
        """Wait until everything is in the bucket."""
        for name in self.databases:
            self.supervised.until(name, is_safe, 240, "safe again")

    def footprint(self) -> Footprint:
        whole = psutil.Process(self.supervised.pid)
        family = [whole, *whole.children(recursive=True)]
        return Footprint(
            processes=len(family),
            descriptors=whole.num_fds(),
            memory=whole.memory_info().rss,
            files=sum(1 for _ in self._temporary()),
        )

    def restored(self, name: str) -> Rows:
        """Return what a restore of the newest state gives."""
        copy = self.supervised.folder / "copies" / f"{name}.db"
        copy.parent.mkdir(exist_ok=True)
        subprocess.run(
            [PROGRAM, "-c", self.supervised.config, "restore", name, "--to", copy],
            check=True, capture_output=True, timeout=180,
        )  # fmt: skip
        return rows_of(copy)

    def written(self, name: str) -> Rows:
        """Return what was committed."""
        return rows_of(self.databases[name].path)

    def _temporary(self) -> Iterator[Path]:
        for path in self.supervised.folder.rglob("*"):
            if path.suffix in {".tmp", ".new"}:
                yield path


@pytest.fixture
def soak(tmp_path: Path, s3: S3, replica: ReplicaSettings) -> Iterator[Soak]:
    with (
        Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy,
        Supervised(tmp_path, replace(replica, endpoint=proxy.endpoint)) as supervised,
    ):
        supervised.configure(
            replace(replica, endpoint=proxy.endpoint), litestream={"list_interval": "10s"}
        )
        yield Soak(supervised, proxy)


def test_soak(soak: Soak) -> None:
    say(f"\nSOAK_SEED={SEED}, {MINUTES:g} minutes, {DATABASES} databases")
    soak.begin()
    before = soak.footprint()
    say(f"before: {before}")
    soak.suffer(MINUTES / 2, kills_supervisor=True)
    between = soak.footprint()
    say(f"between: {between}")
    soak.suffer(MINUTES / 2, kills_supervisor=False)
    after = soak.footprint()
    say(f"after: {after}")
    status, said = soak.supervised.stop()

    assert status == 0, said
    different = [name for name in soak.databases if soak.restored(name) != soak.written(name)]
    assert different == []
    assert after.processes == before.processes
    assert after.files == 0
    assert after.descriptors <= before.descriptors + DATABASES // 2
    assert between.memory <= before.memory + BURST_MAX, "what one life needs"
    assert after.memory <= between.memory + GROWTH_MAX, "what it keeps"


def say(words: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def rows_of(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM t ORDER BY rowid").fetchall()
