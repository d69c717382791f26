"""
Bytes per small sequential step, for several page sizes.

Of the database when it is tidy, and of the write-ahead log, which is what Litestream
ships (before it compresses). A file keeps the page size that it was made with.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import apsw

from benchmarks import bare, workflows
from obelisk_ops import Engine

PAGE_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many steps; few enough that the write-ahead log is not reset."""

    steps: int


SIZES = {"full": Size(steps=450), "tiny": Size(steps=100)}
ONCE = True


def measure(folder: Path, size: Size) -> dict[str, float]:
    floor = bare.Commits(folder / "bare.db")
    figures: dict[str, float] = {}
    for page_bytes in PAGE_SIZES:
        path = folder / f"{page_bytes}.db"
        _make(path, page_bytes)
        moments = floor.times(size.steps)
        rate, wal_bytes = asyncio.run(_steps(path, size.steps))
        empty = folder / f"{page_bytes}-empty.db"
        _make(empty, page_bytes)
        asyncio.run(_steps(empty, 0))
        grown = path.stat().st_size - empty.stat().st_size
        figures[f"{page_bytes}.db_bytes"] = grown / size.steps
        figures[f"{page_bytes}.wal_bytes"] = wal_bytes / size.steps
        figures[f"{page_bytes}.of_bare"] = rate * (moments[-1] - moments[0]) / size.steps
    floor.close()
    return figures


def _make(path: Path, page_bytes: int) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", page_bytes)
    connection.pragma("journal_mode", "wal")
    connection.close()


async def _steps(path: Path, steps: int) -> tuple[float, int]:
    """Return steps per second, and how much was written to the log for them."""
    wal = path.with_name(path.name + "-wal")
    async with Engine(path) as engine:
        before = wal.stat().st_size
        began = perf_counter()
        await (await engine.submit(workflows.asynchronous, steps)).result()
        return steps / (perf_counter() - began), wal.stat().st_size - before
