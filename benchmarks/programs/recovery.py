"""A process killed with many executions in flight: how soon do all of them run again?"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import workflows
from benchmarks.children import killed_when_it_says
from obelisk_ops import Engine

STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many executions are in flight."""

    executions: int


SIZES = {"full": Size(executions=1000), "tiny": Size(executions=30)}
ONCE = False


def measure(folder: Path, size: Size) -> dict[str, float]:
    path = folder / "recovery.db"
    killed_when_it_says("held", __name__, str(path), str(size.executions))
    return {"seconds": asyncio.run(_recover(path, size.executions))}


async def _recover(path: Path, count: int) -> float:
    workflows.marks.clear()
    workflows.held.clear()
    began = perf_counter()
    async with Engine(path, workflows=[workflows.held_after], grace=0):
        await _all_held(count)
        assert len(workflows.marks) == count, "a step on record was taken again"
        return workflows.marks[-1] - began


async def _hold(path: Path, count: int) -> None:
    async with Engine(path) as engine:
        asking = [engine.submit(workflows.held_after, STEPS) for _ in range(count)]
        await asyncio.gather(*asking)
        await _all_held(count)
        print("held", flush=True)
        await asyncio.Event().wait()


async def _all_held(count: int) -> None:
    while len(workflows.held) < count:  # noqa: ASYNC110 - what is waited for marks a list
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(_hold(Path(sys.argv[1]), int(sys.argv[2])))
