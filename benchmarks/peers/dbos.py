"""
DBOS on SQLite, as it comes: it sets no pragma, so a rollback journal, and FULL.

With ``wal`` in the folder's name its file is put in WAL mode first, which stays with a
file: what who runs Litestream beside it would have. Where the folder has a file ``url``, it
works on that PostgreSQL database.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks.peers.shared import SIZES, STEPS, Size, latencies, main, mark, marks

IN_FLIGHT = 32

#: seconds that each workflow's code took
bodies: list[float] = []


@DBOS.step()
def step(number: int) -> int:
    return mark(number)


@DBOS.step()
async def step_async(number: int) -> int:
    return mark(number)


@DBOS.workflow()
def work(steps: int) -> int:
    began = perf_counter()
    total = sum(step(number) for number in range(steps))
    bodies.append(perf_counter() - began)
    return total


@DBOS.workflow()
async def work_async(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += await step_async(number)
    return total


def _launch(folder: Path) -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": _database(folder),
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()


def _database(folder: Path) -> str:
    path, url = folder / "dbos.db", folder / "url"
    if url.exists():
        return url.read_text()
    if "wal" in folder.name:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    return f"sqlite:///{path}"


def sequential(folder: Path, size: Size) -> dict[str, float]:
    _launch(folder)
    work(size.steps)
    figures = latencies("def")
    asyncio.run(work_async(size.steps))
    figures |= latencies("async")
    DBOS.destroy()
    return figures


def concurrent(folder: Path, size: Size) -> dict[str, float]:
    _launch(folder)
    began = perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(work, [STEPS] * size.workflows))
    took = perf_counter() - began
    assert len(marks) == STEPS * size.workflows
    began = perf_counter()
    asyncio.run(_all(size.workflows))
    took_async = perf_counter() - began
    DBOS.destroy()
    steps = STEPS * size.workflows
    return {"def.rate": steps / took, "async.rate": steps / took_async}


async def _all(count: int) -> None:
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with free:
            await work_async(STEPS)

    await asyncio.gather(*[one() for _ in range(count)])


def replay(folder: Path, size: Size) -> dict[str, float]:
    """Fork the finished workflow behind its last step: every step is found on record."""
    _launch(folder)
    with SetWorkflowID("long"):
        work(size.replayed)
    taken = len(marks)
    DBOS.fork_workflow("long", size.replayed + 1).get_result()
    assert len(marks) == taken, "a step on record was taken again"
    DBOS.destroy()
    return {"ours_ms": bodies[-1] * 1000 * SIZES["full"].replayed / size.replayed}


if __name__ == "__main__":
    main({"sequential": sequential, "concurrent": concurrent, "replay": replay})
