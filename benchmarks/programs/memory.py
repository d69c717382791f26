"""Memory per execution that waits for a timer: loaded, unloaded, and after a restart."""

from __future__ import annotations

import asyncio
import gc
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import workflows
from benchmarks.children import figures_of
from obelisk_ops import Engine

AT_ONCE = 500
#: an engine keeps so many in memory that only wait; those that wait longest are unloaded
LOADED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many executions, and after how long they should be unloaded."""

    executions: int
    settle_s: float


SIZES = {
    "full": Size(executions=10_000, settle_s=3.0),
    "tiny": Size(executions=200, settle_s=0.2),
}
ONCE = True


def measure(folder: Path, size: Size) -> dict[str, float]:
    path = folder / "memory.db"
    arguments = (str(path), str(size.executions), str(size.settle_s))
    return figures_of(__name__, "make", *arguments) | figures_of(__name__, "open", *arguments)


async def _make(path: Path, count: int, settle_s: float) -> dict[str, float]:
    async with Engine(path, grace=0) as engine:
        empty = _bytes()
        await _block(engine, LOADED)
        loaded = _bytes()
        await _block(engine, count)
        await asyncio.sleep(settle_s)
        return {
            "loaded_bytes": (loaded - empty) / LOADED,
            "unloaded_bytes": (_bytes() - loaded) / count,
        }


async def _block(engine: Engine, count: int) -> None:
    for _ in range(0, count, AT_ONCE):
        some = min(AT_ONCE, count)
        asking = [engine.submit(workflows.sleeper, 86_400.0) for _ in range(some)]
        await asyncio.gather(*asking)


async def _open(path: Path, count: int, settle_s: float) -> dict[str, float]:
    empty = path.with_name("empty.db")
    async with Engine(empty, workflows=[workflows.sleeper], grace=0) as engine:
        await engine.submit(workflows.sleeper, 86_400.0)
        before = _bytes()
    async with Engine(path, workflows=[workflows.sleeper], grace=0):
        await asyncio.sleep(settle_s)
        return {"reopened_bytes": (_bytes() - before) / count}


def _bytes() -> int:
    gc.collect()
    found: int = psutil.Process().memory_full_info().uss
    return found


if __name__ == "__main__":
    import json

    mode = {"make": _make, "open": _open}[sys.argv[1]]
    found = asyncio.run(mode(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
    print(json.dumps(found))
