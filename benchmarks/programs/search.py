"""
Searching a bucket of many backups: the first time, and when one of them has changed.

One database is shipped by the real Litestream, and its objects are copied under many names:
to a search they are different backups, of which it knows nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import yaml

from benchmarks import workflows
from obelisk_ops import Engine
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import ReplicaSettings

ONCE = True
#: backups, and executions in each
SIZES = {"full": (500, 200), "tiny": (5, 5)}
_NAME = "first"


def measure(folder: Path, size: tuple[int, int]) -> dict[str, float]:
    """Return the seconds of the whole command, in a process of its own."""
    backups, executions = size
    database = folder / "runs" / f"{_NAME}.db"
    database.parent.mkdir()
    asyncio.run(_fill(database, executions))
    with S3Server(folder / "s3", bucket="bench") as server:
        place = server.replica("fleet")
        config = _configured(folder, place)
        _command(config, "supervise", "--once")
        store = open_store(place)
        for number in range(1, backups):
            _copy(store, place.prefix, f"run-{number:04}")
        first_s = _searched(config)
        asyncio.run(_fill(database, 1))
        _command(config, "supervise", "--once")
        return {"first_s": first_s, "again_s": _searched(config)}


async def _fill(database: Path, executions: int) -> None:
    async with Engine(database) as engine:
        for _ in range(executions):
            await (await engine.submit(workflows.asynchronous, 2)).result()


def _configured(folder: Path, place: ReplicaSettings) -> Path:
    replica = {
        "url": place.url, "endpoint": place.endpoint, "region": place.region,
        "credentials": place.credentials,
    }  # fmt: skip
    databases = [{"path": "runs/*.db", "name": "{stem}"}]
    config = folder / "obelisk-ops.yml"
    config.write_text(yaml.safe_dump({"replica": replica, "databases": databases}))
    return config


def _copy(store: ObjectStore, prefix: str, name: str) -> None:
    root = f"{prefix}/{_NAME}/"
    for info in list(store.list(root)):
        store.put(f"{prefix}/{name}/{info.key.removeprefix(root)}", store.get(info.key).body)


def _searched(config: Path) -> float:
    began = time.perf_counter()
    _command(config, "search", "--state", "finished", "--limit", "10")
    return time.perf_counter() - began


def _command(config: Path, *words: str) -> None:
    argv = [sys.executable, "-m", "obelisk_ops", "-c", str(config), *words]
    cache = {"XDG_CACHE_HOME": str(config.parent / "cache")}
    subprocess.run(argv, check=True, capture_output=True, env=cache)
