"""
On PostgreSQL: steps in turns with bare commits on the same server, and many workflows.

The server has its own defaults: every commit is synced. DBOS works on the same one, where
it has been prepared.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import bare, stats, workflows
from benchmarks.children import ROOT, figures_of
from benchmarks.environments import CACHE
from benchmarks.programs.concurrent import STEPS, run_many
from obelisk_ops import Engine
from obelisk_ops.durable.flow import watch
from tests.postgres import running, with_option

#: does something as often as it is told
Job = Callable[[int], Awaitable[None]]

SERVER = {"listen_addresses": "", "max_connections": "100"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """*blocks* times *steps* of one workflow; how many of five steps; what DBOS does."""

    blocks: int
    steps: int
    workflows: int
    peer: str | None


SIZES = {
    "full": Size(blocks=8, steps=250, workflows=1000, peer="less"),
    "tiny": Size(blocks=2, steps=40, workflows=60, peer=None),
}
ONCE = False


def measure(_folder: Path, size: Size) -> dict[str, float]:
    with running(SERVER) as server:
        figures = asyncio.run(_measure(server.base_url, size))
        return figures | _compared(figures, _dbos(server.base_url, size.peer))


async def _measure(base_url: str, size: Size) -> dict[str, float]:
    url = with_option(base_url, "schema=bench")
    with closing(bare.Inserts(base_url)) as floor:
        async with Engine(url) as engine:
            await warm_up(floor, size, steps(engine))
            floors, [ours] = await turns(floor, size.blocks, size.steps, steps(engine))
            await run_many(engine, workflows.asynchronous, size.workflows // 10)
            took = await run_many(engine, workflows.asynchronous, size.workflows)
            took_def = await run_many(engine, workflows.threaded, size.workflows)
    return {
        "bare.rate": size.steps / stats.median(floors),
        "sequential.rate": size.steps / stats.median(ours),
        "step_of_insert": in_floors(ours, floors),
        "concurrent.rate": STEPS * size.workflows / took,
        "concurrent.def.rate": STEPS * size.workflows / took_def,
    }


async def warm_up(floor: bare.Inserts, size: Size, job: Job) -> None:
    """Let server and engine run as they do in the long run: code that is new is watched."""
    for _ in range(watch.FIRST_EXECUTIONS):
        await job(1)
    await turns(floor, size.blocks // 4 + 1, size.steps, job)


def steps(engine: Engine) -> Job:
    """Return what takes steps of one workflow, one after the other."""

    async def take(count: int) -> None:
        await (await engine.submit(workflows.asynchronous, count)).result()

    return take


async def turns(
    floor: bare.Inserts, blocks: int, count: int, *jobs: Job
) -> tuple[list[float], list[list[float]]]:
    """Return the seconds that *count* bare commits took, and each of the jobs beside them."""
    floors: list[float] = []
    taken: list[list[float]] = [[] for _ in jobs]
    for _ in range(blocks):
        moments = floor.times(count)
        floors.append(moments[-1] - moments[0])
        for job, seconds in zip(jobs, taken, strict=True):
            began = perf_counter()
            await job(count)
            seconds.append(perf_counter() - began)
    return floors, taken


def in_floors(taken: list[float], floors: list[float]) -> float:
    """Return how long something takes in bare commits."""
    return stats.median([ours / bare for ours, bare in zip(taken, floors, strict=True)])


def _dbos(base_url: str, size: str | None) -> dict[str, float]:
    """Return the figures of DBOS on the same server; none where it is not prepared."""
    python = CACHE / "dbos" / "bin" / "python"
    if size is None or not python.exists():
        return {}
    found: dict[str, float] = {}
    for name in ("sequential", "concurrent"):
        with tempfile.TemporaryDirectory(prefix="bench-dbos-", dir=ROOT) as folder:
            url = base_url.replace("/postgres?", f"/dbos_{name}?")
            (Path(folder) / "url").write_text(url)
            found |= figures_of("benchmarks.peers.dbos", name, size, folder, python=python)
    return {f"dbos.{name}": value for name, value in found.items()}


def _compared(ours: dict[str, float], dbos: dict[str, float]) -> dict[str, float]:
    found = dict(dbos)
    for kind in ("sequential", "concurrent"):
        rates = [dbos.get(f"dbos.{kind}.{how}.rate", 0.0) for how in ("async", "def")]
        if max(rates):
            found[f"{kind}_of_dbos"] = ours[f"{kind}.rate"] / max(rates)
    return found
