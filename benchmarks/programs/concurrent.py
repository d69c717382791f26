"""Many workflows of five steps at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import apsw

from benchmarks import workflows
from obelisk_ops import Engine

STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many workflows, all in flight; how many of them before, to warm up."""

    workflows: int
    warm: int


SIZES = {"full": Size(workflows=1000, warm=100), "tiny": Size(workflows=60, warm=10)}
ONCE = False


def measure(folder: Path, size: Size) -> dict[str, float]:
    return asyncio.run(_measure(folder, size))


async def _measure(folder: Path, size: Size) -> dict[str, float]:
    figures: dict[str, float] = {}
    kinds = {"async": workflows.asynchronous, "def": workflows.threaded}
    for name, function in kinds.items():
        path = folder / f"{name}.db"
        async with Engine(path) as engine:
            await run_many(engine, function, size.warm)
            took = await run_many(engine, function, size.workflows)
            figures[f"{name}.rate"] = STEPS * size.workflows / took
            written = await _written(engine, path, function, size.workflows)
            figures[f"{name}.wal_bytes"] = written / (STEPS * size.workflows)
    return figures


async def run_many(engine: Engine, function: workflows.Counting, count: int) -> float:
    """Return the seconds that *count* workflows of five steps take together."""

    async def one() -> None:
        await (await engine.submit(function, STEPS)).result()

    began = perf_counter()
    await asyncio.gather(*[one() for _ in range(count)])
    return perf_counter() - began


async def _written(engine: Engine, path: Path, function: workflows.Counting, count: int) -> int:
    """Return how much is written to the log, which cannot begin anew while it is read."""
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM meta").fetchall()
    await run_many(engine, function, count)  # from here on at its end, wherever that was
    before = _log_bytes(path)
    await run_many(engine, function, count)
    written = _log_bytes(path) - before
    reader.close()
    return written


def _log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size
