"""
The restore points of a replica with many objects, from a real S3 server on this machine.

Read as ``obelisk-ops replica points`` reads them: from the listing; with all exact times, none
of which is known yet; and again, when this machine knows them. And the whole command.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter, time

import yaml

from obelisk_ops.core.clock import iso
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.ltx import Name
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.objectstore.s3 import S3Store
from obelisk_ops.replica.granularity import granularity
from obelisk_ops.replica.known import KnownTimes
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.settings import ReplicaSettings

ONCE = True
SIZES = {"full": 10_000, "tiny": 100}
_WRITERS = 16
_HEADER = struct.Struct(">4sIIIQQq")


def measure(folder: Path, size: int) -> dict[str, float]:
    """Return the seconds it takes to read the points of *size* objects."""
    with S3Server(folder / "s3", bucket="bench") as server:
        place = server.replica("bench")
        keys = ReplicaKeys(prefix=place.prefix, name="run")
        _fill(place, keys, size)
        found = {
            figure: min(_timed(partial(read, folder, place, keys)) for _ in range(tries))
            for figure, read, tries in (
                ("listed_s", _listed, 3), ("exact_s", _exact, 1), ("catalogued_s", _exact, 3),
            )
        }  # fmt: skip
        return found | {"command_s": _command(folder, place)}


class _Noting(S3Store):
    """Puts objects as Litestream does, with the time of their header beside them."""

    def put_noted(self, key: str, body: bytes, at: str) -> None:
        """Put one."""
        note = {"litestream-timestamp": at}
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, Metadata=note)


def _fill(place: ReplicaSettings, keys: ReplicaKeys, count: int) -> None:
    store, now_ms = _Noting(place, timeout_s=5, attempts=3), round(time() * 1000)

    def put(txid: int) -> None:
        at_ms = now_ms - 1000 * (count - txid)
        header = _HEADER.pack(b"LTX1", 2, 1024, 10, txid, txid, at_ms)
        name = ltx.file_name(Name(level=0, min_txid=txid, max_txid=txid))
        store.put_noted(keys.epoch(1) + name, header.ljust(500, b"\0"), iso(at_ms))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(put, range(1, count + 1)))


def _timed(action: Callable[[], None]) -> float:
    began = perf_counter()
    action()
    return perf_counter() - began


def _listed(_folder: Path, place: ReplicaSettings, keys: ReplicaKeys) -> None:
    store = open_store(place, in_bulk=True)
    points = read_replica(store, keys).lineage
    times = PointTimes(store)
    assert granularity(map(times.best_ms, points), round(time() * 1000))


def _exact(folder: Path, place: ReplicaSettings, keys: ReplicaKeys) -> None:
    store = open_store(place, in_bulk=True)
    replica = read_replica(store, keys)
    times = PointTimes(store, KnownTimes(folder / "times", place.url))
    times.fetch(replica.points)
    assert all(map(times.is_exact, replica.points))
    times.keep(file for epoch in replica.epochs for file in epoch.files)


def _command(folder: Path, place: ReplicaSettings) -> float:
    config = folder / "obelisk-ops.yml"
    replica = {"url": place.url, "endpoint": place.endpoint, "region": place.region}
    settings = {"replica": replica | {"credentials": place.credentials}, "databases": []}
    config.write_text(yaml.safe_dump(settings))
    program = [sys.executable, "-m", "obelisk_ops", "-c", str(config)]
    began = perf_counter()
    subprocess.run(
        [*program, "replica", "points", "run", "--listed", "--json"],
        stdout=subprocess.DEVNULL, check=True, env=os.environ | {"XDG_CACHE_HOME": str(folder)},
    )  # fmt: skip
    return perf_counter() - began
