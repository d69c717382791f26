"""
A fleet of idle databases in the shared topology: what it costs, and how quick it is.

The real Litestream, the real S3 server, the supervisor as a process of its own. The S3
server's work is not counted; on a small machine it takes its share of the processors. It counts
the requests that it gets, of the supervisor and of Litestream.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import apsw
import psutil
import yaml

from obelisk_ops.errors import Unproven
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import load
from obelisk_ops.supervise.report import report

ONCE = True
#: How many databases; for how many seconds they are left alone at first, and then watched.
SIZES = {"full": (1000, 180.0, 600.0), "tiny": (6, 1.0, 3.0)}
_HOST = "127.0.0.1"
_HOUR_S = 3600.0
_PATIENCE_S = 600.0
_LOOK_S = 0.1


class Meter:
    """Counts the requests that the S3 server has answered."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{_HOST}:{port}/metrics"
        self.options = (f"-metricsPort={port}", f"-metricsIp={_HOST}")

    def read(self) -> int:
        """Return how many there were so far."""
        with urllib.request.urlopen(self._url, timeout=5) as answer:  # noqa: S310 - loopback
            return requests_of(answer.read().decode())


def requests_of(metrics: str) -> int:
    """Return the number of requests that the metrics of a SeaweedFS tell of."""
    counted = re.findall(r"^SeaweedFS_s3_request_total\{.*\} (\S+)$", metrics, re.MULTILINE)
    return round(sum(map(float, counted)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What processes have used: seconds of processor time, and bytes of memory now."""

    cpu_s: float
    memory: int


def measure(folder: Path, size: tuple[int, float, float]) -> dict[str, float]:
    """
    Return the figures of *size*: so many databases, left alone, and then watched at rest.

    Rest begins when what is due once after a start is over: what was shipped is compacted
    after half a minute and at every fifth minute of the clock, and the oldest restore point
    is looked up. It lasts for ten minutes, so that what comes round that often is in it. Once
    more new objects are compacted at the full hour, which is waited for if it is near.
    """
    databases, settle_s, rest_s = size
    meter = Meter(_free_port())
    with S3Server(folder / "s3", bucket="bench", options=meter.options) as server:
        config = _prepare(folder, server, databases)
        began = time.monotonic()
        with (folder / "log").open("wb") as log:
            argv = [sys.executable, "-m", "obelisk_ops", "-c", str(config), "supervise"]
            child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=log)
        supervisor = psutil.Process(child.pid)
        try:
            _until(lambda: _safe(config) == databases)
            found = {
                "all_safe_s": time.monotonic() - began,
                "start_requests_each": meter.read() / databases,
            }
            time.sleep(settle_s)
            _pass_the_hour(settle_s, rest_s)
            found |= _at_rest(supervisor, meter, databases, rest_s)
            found["planned_per_minute"] = _planned(config)
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


def _at_rest(
    supervisor: psutil.Process, meter: Meter, databases: int, rest_s: float
) -> dict[str, float]:
    ours, theirs = _use([supervisor]), _use(_litestreams(supervisor))
    minutes = _watch(meter, rest_s)
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
        "requests_per_minute": sum(minutes) * 60 / rest_s,
        "requests_in_one_minute": max(minutes),
    }


def _watch(meter: Meter, for_s: float) -> list[int]:
    """Return how many requests there were in each minute; the last may be shorter."""
    until, counts = time.monotonic() + for_s, [meter.read()]
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, 60.0))
        counts.append(meter.read())
    return [after - before for before, after in pairwise(counts)]


def _pass_the_hour(settle_s: float, rest_s: float) -> None:
    left_s = _HOUR_S - time.time() % _HOUR_S
    if left_s < rest_s:
        time.sleep(left_s + settle_s)


def _planned(config: Path) -> float:
    """Return what ``status`` expects of all databases in a minute; the lease is not in it."""
    rows, _ = report(load(config))
    return sum(row.requests_per_day or 0 for row in rows) / 1440


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
    # Not asked for: to tell of a thousand databases ten times a second is work of its own.
    log = folder / "log"
    _until(lambda: b'"database": "new", "state": "ok"' in log.read_bytes())
    # And that is said of what is on its way in time, too.
    _until(lambda: "new" in _safe_names(config))
    new_s = time.monotonic() - began
    return {"restart_s": restart_s, "new_database_s": new_s}


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
    try:
        return len(_safe_names(config))
    except Unproven:
        return 0  # it is busy with a thousand beginnings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_S)
