"""What an engine costs that has nothing to do but wait: processor time, and commits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import apsw

from benchmarks import workflows
from obelisk_ops import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many executions sleep, and how long it is watched."""

    sleeping: int
    seconds: float


SIZES = {"full": Size(sleeping=1000, seconds=10.0), "tiny": Size(sleeping=20, seconds=1.5)}
ONCE = True
SETTLE_S = 1.0


def measure(folder: Path, size: Size) -> dict[str, float]:
    return asyncio.run(_measure(folder / "idle.db", size))


async def _measure(path: Path, size: Size) -> dict[str, float]:
    async with Engine(path) as engine:
        for _ in range(size.sleeping):
            await engine.submit(workflows.sleeper, 86_400.0)
        await asyncio.sleep(SETTLE_S)
        watcher = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        version = watcher.pragma("data_version")
        began, cpu = perf_counter(), process_time()
        await asyncio.sleep(size.seconds)
        used, took = process_time() - cpu, perf_counter() - began
        has_written = watcher.pragma("data_version") != version
        watcher.close()
    return {"cpu_percent": 100 * used / took, "writes": float(has_written)}
