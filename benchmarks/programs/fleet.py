"""
A fleet of idle databases in the shared topology: what it costs, and how quick it is.

The real Litestream, the real S3 server, the supervisor as a process of its own. The S3
server's work is not counted; on a small machine it takes its share of the processors.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw
import psutil
import yaml

from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import load
from obelisk_ops.supervise.report import report

ONCE = True
SIZES = {"full": (1000, 60.0), "tiny": (6, 3.0)}
_PATIENCE_S = 300.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What processes have used: seconds of processor time, and bytes of memory now."""

    cpu_s: float
    memory: int


def measure(folder: Path, size: tuple[int, float]) -> dict[str, float]:
    """Return the figures of *size*: so many databases, watched at rest for so many seconds."""
    databases, rest_s = size
    with S3Server(folder / "s3", bucket="bench") as server:
        config = _prepare(folder, server, databases)
        began = time.monotonic()
        with (folder / "log").open("wb") as log:
            argv = [sys.executable, "-m", "obelisk_ops", "-c", str(config), "supervise"]
            child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=log)
        supervisor = psutil.Process(child.pid)
        try:
            _until(lambda: _safe(config) == databases)
            found = {"all_safe_s": time.monotonic() - began}
            found |= _at_rest(supervisor, databases, rest_s)
            found |= _reactions(folder, config, supervisor)
        finally:
            began = time.monotonic()
            child.send_signal(signal.SIGTERM)
            child.wait(_PATIENCE_S)
        return found | {"stop_s": time.monotonic() - began}


def _prepare(folder: Path, server: S3Server, databases: int) -> Path:
    for number in range(databases):
        _make(folder / "runs" / f"db-{number:04}.db")
    place = server.replica("fleet")
    settings = {
        "replica": {
            "url": place.url, "endpoint": place.endpoint, "region": place.region,
            "credentials": place.credentials,
        },
        "databases": [{"path": "runs/*.db", "name": "{stem}"}],
        "litestream": {"topology": "shared"},
    }  # fmt: skip
    config = folder / "obelisk-ops.yml"
    config.write_text(yaml.safe_dump(settings))
    return config


def _make(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    connection = apsw.Connection(str(path))
    for statement in (
        "PRAGMA journal_mode=WAL",
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (1)",
    ):
        connection.execute(statement).fetchall()
    connection.close()


def _at_rest(supervisor: psutil.Process, databases: int, rest_s: float) -> dict[str, float]:
    ours, theirs = _use([supervisor]), _use(_litestreams(supervisor))
    time.sleep(rest_s)
    ours_after, theirs_after = _use([supervisor]), _use(_litestreams(supervisor))
    percent = 100 * (ours_after.cpu_s - ours.cpu_s) / rest_s
    return {
        "cpu_percent": percent,
        "cpu_percent_each": percent / databases,
        "litestream_cpu_percent": 100 * (theirs_after.cpu_s - theirs.cpu_s) / rest_s,
        "memory_mib": ours_after.memory / 2**20,
        "memory_mib_each": ours_after.memory / 2**20 / databases,
        "litestream_memory_mib": theirs_after.memory / 2**20,
        "processes": len(_litestreams(supervisor)),
    }


def _reactions(folder: Path, config: Path, supervisor: psutil.Process) -> dict[str, float]:
    before = {process.pid for process in _litestreams(supervisor)}
    began = time.monotonic()
    os.kill(min(before), signal.SIGKILL)
    _until(lambda: {process.pid for process in _litestreams(supervisor)} - before)
    restart_s = time.monotonic() - began
    count = len(list((folder / "runs").glob("*.db")))
    _until(lambda: _safe(config) == count)
    began = time.monotonic()
    _make(folder / "runs" / "new.db")
    _until(lambda: "new" in _safe_names(config))
    return {"restart_s": restart_s, "new_database_s": time.monotonic() - began}


def _litestreams(supervisor: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in supervisor.children():
        with suppress(psutil.Error):
            if "replicate" in child.cmdline():
                found.append(child)
    return found


def _use(processes: list[psutil.Process]) -> Use:
    times = [process.cpu_times() for process in processes]
    return Use(
        cpu_s=sum(spent.user + spent.system for spent in times),
        memory=sum(process.memory_info().rss for process in processes),
    )


def _safe_names(config: Path) -> set[str]:
    rows, _ = report(load(config))
    return {row.name for row in rows if row.state == "ok" and row.unsent_transactions == 0}


def _safe(config: Path) -> int:
    return len(_safe_names(config))


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_S)
