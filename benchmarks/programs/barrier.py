"""
What it costs that the bucket must hold it, with a real Litestream and a real S3 server.

The server is on this machine, so nothing of it is the network; a real one is slower by its
round trips, of which a barrier makes as many as the PUT and the GET it is compared with. These
are made by boto3, as ``ObjectStore.put`` and ``get`` make them, while nothing else goes on:
barriers and requests take turns, in blocks, so that a busy machine hurts both.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import apsw
import yaml

from benchmarks import workflows
from obelisk_ops import Engine
from obelisk_ops.durable.supervised import SupervisedBarrier
from obelisk_ops.litestream.local import level0_file, newest_txid
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import ReplicaSettings

STEPS = 5
PATIENCE_S = 60.0
BLOCK, REST_S = 5, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many barriers are timed, and how many workflows run at once."""

    barriers: int
    workflows: int


SIZES = {"full": Size(barriers=100, workflows=1000), "tiny": Size(barriers=5, workflows=20)}
ONCE = False


def measure(folder: Path, size: Size) -> dict[str, float]:
    with S3Server(folder / "s3") as server:
        replica = ReplicaSettings(
            bucket=server.bucket, prefix="bench", endpoint=server.endpoint,
            region=server.region, credentials=f"file:{server.credentials_file}",
        )  # fmt: skip
        database = folder / "runs" / "r.db"
        database.parent.mkdir()
        with _supervised(folder, replica):
            return asyncio.run(_measure(database, open_store(replica), size))


async def _measure(database: Path, store: ObjectStore, size: Size) -> dict[str, float]:
    async with Engine(
        database, durability="replicated", replication_timeout=PATIENCE_S
    ) as engine:
        await _run(engine, 10)
        rate = STEPS * size.workflows / await _run(engine, size.workflows)
    times = await _barriers(database, store, size.barriers)
    barrier, put, get = (median(kind) for kind in zip(*times, strict=True))
    return {
        "rate": rate,
        "p50_ms": barrier * 1000,
        "put_and_get_ms": (put + get) * 1000,
        "of_put_and_get": barrier / (put + get),
    }


async def _run(engine: Engine, count: int) -> float:
    async def one() -> None:
        await (await engine.submit(workflows.asynchronous, STEPS)).result()

    began = perf_counter()
    await asyncio.gather(*[one() for _ in range(count)])
    return perf_counter() - began


async def _barriers(
    database: Path, store: ObjectStore, count: int
) -> list[tuple[float, float, float]]:
    """Time barriers behind one commit each, and PUTs of the same size with a small GET each."""
    meta = database.with_name(f".{database.name}-obelisk") / "meta-e0001"
    barrier, writer = SupervisedBarrier(database), apsw.Connection(str(database))
    writer.execute("CREATE TABLE bench (a)").fetchall()
    times = []
    for _ in range(0, count, BLOCK):
        passed = [await _barrier(barrier, writer) for _ in range(BLOCK)]
        await asyncio.sleep(REST_S)  # it still looks whether the last one is there
        body = level0_file(meta, newest_txid(meta)).read_bytes()
        requests = [_put_and_get(store, body) for _ in range(BLOCK)]
        times += [(one, *two) for one, two in zip(passed, requests, strict=True)]
    barrier.close()
    writer.close()
    return times


async def _barrier(barrier: SupervisedBarrier, writer: apsw.Connection) -> float:
    writer.execute("INSERT INTO bench VALUES (randomblob(500))").fetchall()
    began = perf_counter()
    await barrier.passed(_nothing)
    return perf_counter() - began


def _put_and_get(store: ObjectStore, body: bytes) -> tuple[float, float]:
    began = perf_counter()
    store.put("bench/probe", body)
    put = perf_counter()
    store.get("bench/probe", first=0, last=99)
    return put - began, perf_counter() - put


@contextmanager
def _supervised(folder: Path, replica: ReplicaSettings) -> Iterator[None]:
    config = folder / "obelisk-ops.yml"
    place = {"url": replica.url, "endpoint": replica.endpoint, "region": replica.region}
    settings = {
        "replica": place | {"credentials": replica.credentials},
        "databases": [{"path": "runs/*.db", "name": "{stem}"}],
    }
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "obelisk_ops", "-c", str(config), "supervise"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as supervisor:
        try:
            yield
        finally:
            supervisor.terminate()


def _nothing(_reason: str) -> None:
    """Wait for whatever it is."""
