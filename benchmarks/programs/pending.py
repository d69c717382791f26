"""Does a step take longer while very many executions sleep? Beside bare commits again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import bare, stats, workflows
from obelisk_ops import Engine

AT_ONCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many executions sleep; *blocks* times *steps* are taken without and with them."""

    sleeping: int
    blocks: int
    steps: int


SIZES = {
    "full": Size(sleeping=100_000, blocks=8, steps=250),
    "tiny": Size(sleeping=300, blocks=2, steps=40),
}
ONCE = True


def measure(folder: Path, size: Size) -> dict[str, float]:
    return asyncio.run(_measure(folder, size))


async def _measure(folder: Path, size: Size) -> dict[str, float]:
    floor = bare.Commits(folder / "bare.db", bare.RECYCLED)  # or it would get faster meanwhile
    async with Engine(folder / "pending.db", grace=0) as engine:
        await _ratio(engine, floor, size)  # to warm up
        alone = await _ratio(engine, floor, size)
        began = perf_counter()
        for start in range(0, size.sleeping, AT_ONCE):
            count = min(AT_ONCE, size.sleeping - start)
            asking = [engine.submit(workflows.sleeper, 86_400.0) for _ in range(count)]
            await asyncio.gather(*asking)
        took = perf_counter() - began
        crowded = await _ratio(engine, floor, size)
    floor.close()
    return {
        "slowdown_percent": 100 * (alone / crowded - 1),
        "submit_rate": size.sleeping / took,
    }


async def _ratio(engine: Engine, floor: bare.Commits, size: Size) -> float:
    """Return our rate as a share of the bare one."""
    ratios = []
    for _ in range(size.blocks):
        moments = floor.times(size.steps)
        began = perf_counter()
        await (await engine.submit(workflows.asynchronous, size.steps)).result()
        ratios.append((moments[-1] - moments[0]) / (perf_counter() - began))
    return stats.median(ratios)
