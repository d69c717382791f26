"""
On PostgreSQL: steps in turns with bare commits on the same server, and many workflows.

The server has its own defaults: every commit is synced. DBOS works on the same one, where
it has been prepared.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import bare, stats, workflows
from benchmarks.children import ROOT, figures_of
from benchmarks.environments import CACHE
from benchmarks.programs.concurrent import STEPS, run_many
from obelisk_ops import Engine
from tests.postgres import running, with_option

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
            await turns(engine, floor, size.blocks // 4 + 1, size.steps)  # to warm up
            bare_s, ours_s = await turns(engine, floor, size.blocks, size.steps)
            await run_many(engine, workflows.asynchronous, size.workflows // 10)
            took = await run_many(engine, workflows.asynchronous, size.workflows)
            took_def = await run_many(engine, workflows.threaded, size.workflows)
    ratios = [ours / floor for ours, floor in zip(ours_s, bare_s, strict=True)]
    return {
        "bare.rate": size.steps / stats.median(bare_s),
        "sequential.rate": size.steps / stats.median(ours_s),
        "step_of_insert": stats.median(ratios),
        "concurrent.rate": STEPS * size.workflows / took,
        "concurrent.def.rate": STEPS * size.workflows / took_def,
    }


async def turns(
    engine: Engine, floor: bare.Inserts, blocks: int, steps: int
) -> tuple[list[float], list[float]]:
    """Return the seconds that as many bare commits, and steps of one workflow, took."""
    bare_s, ours_s = [], []
    for _ in range(blocks):
        moments = floor.times(steps)
        bare_s.append(moments[-1] - moments[0])
        began = perf_counter()
        await (await engine.submit(workflows.asynchronous, steps)).result()
        ours_s.append(perf_counter() - began)
    return bare_s, ours_s


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
