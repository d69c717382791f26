"""
Steps per second of the durable core, beside the bare commit rate of the same SQLite.

One run, one disk, one process: only the ratios mean something on a shared machine. The
bare rate is measured before and after each scenario, and the nearer pair is compared.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
from rich.console import Console
from rich.table import Table

from benchmarks import workflows
from obelisk_ops import Engine

SEQUENTIAL = 2000
MANY = 1000
ROUNDS = 5


def bare_rate(folder: Path, commits: int = SEQUENTIAL) -> float:
    """Return rows per second: WAL, synchronous=FULL, one row and one commit each."""
    path = folder / f"bare-{time.perf_counter_ns()}.db"
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", 1024)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.wal_autocheckpoint(4000)
    connection.execute(
        "CREATE TABLE log (execution INTEGER, version INTEGER, at INTEGER, kind TEXT, "
        "body TEXT, PRIMARY KEY (execution, version)) STRICT, WITHOUT ROWID"
    )
    row = "INSERT INTO log VALUES (1, ?, 1700000000000, 'returned', '{\"n\":1,\"ok\":1}')"
    began = time.perf_counter()
    for version in range(commits):
        connection.execute(row, (version,))
    rate = commits / (time.perf_counter() - began)
    connection.close()
    return rate


async def sequential(engine: Engine, workflow: workflows.Counting) -> float:
    """Return steps per second of one workflow."""
    began = time.perf_counter()
    await (await engine.submit(workflow, SEQUENTIAL)).result()
    return SEQUENTIAL / (time.perf_counter() - began)


async def concurrent(engine: Engine, workflow: workflows.Counting) -> float:
    """Return steps per second of 1000 workflows of 5 steps, all in flight."""

    async def one() -> None:
        await (await engine.submit(workflow, 5)).result()

    began = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(MANY)])
    return 5 * MANY / (time.perf_counter() - began)


Scenario = Callable[[Engine, workflows.Counting], Awaitable[float]]


async def measure(
    folder: Path, scenario: Scenario, workflow: workflows.Counting
) -> tuple[float, float, float]:
    """Return the medians of our rate, the bare rate, and of their ratio pair by pair."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        before = bare_rate(folder)
        async with Engine(folder / f"{time.perf_counter_ns()}.db") as engine:
            ours.append(await scenario(engine, workflow))
        bare.append((before + bare_rate(folder)) / 2)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return statistics.median(ours), statistics.median(bare), statistics.median(ratios)


def main() -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("work", "steps/s", "bare commits/s", "ratio", "goal"):
        table.add_column(title, justify="left" if title == "work" else "right")
    rows: list[tuple[str, Scenario, workflows.Counting, str]] = [
        ("one workflow, async def, sequential", sequential, workflows.asynchronous, "≥ 0.8 x"),
        ("one workflow, def, sequential", sequential, workflows.threaded, ""),
        ("1000 x 5, async def", concurrent, workflows.asynchronous, "≥ 10,000/s"),
        ("1000 x 5, def", concurrent, workflows.threaded, ""),
    ]
    with tempfile.TemporaryDirectory(dir=".") as name:
        for title, scenario, workflow, goal in rows:
            ours, bare, ratio = asyncio.run(measure(Path(name), scenario, workflow))
            table.add_row(title, f"{ours:,.0f}", f"{bare:,.0f}", f"{ratio:.2f} x", goal)
    Console().print(table)
    Console().print("[dim]synchronous=FULL everywhere; medians of 5 rounds[/]")


if __name__ == "__main__":
    main()
