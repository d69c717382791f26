"""
Bringing one long execution back to where its log ends.

From the moment at which its workflow is served again until the call that its code waits
for has started anew, beside a loop that reads and decodes the same rows and drives a
coroutine with them, and checks nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import bare, stats, workflows
from obelisk_ops import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many steps are on record; how often they are replayed."""

    steps: int
    times: int


SIZES = {"full": Size(steps=10_000, times=9), "tiny": Size(steps=300, times=3)}
ONCE = True


def measure(folder: Path, size: Size) -> dict[str, float]:
    path = folder / "replay.db"
    key = asyncio.run(_record(path, size.steps))
    ours, floor = [], []
    for _ in range(size.times):
        floor.append(bare.replay(path, key, size.steps))
        ours.append(asyncio.run(_replay(path, size.steps)))
    ratios = [a / b for a, b in zip(ours, floor, strict=True)]
    return {
        "ours_ms": stats.median(ours) * 1000,
        "bare_ms": stats.median(floor) * 1000,
        "of_bare": stats.median(ratios),
    }


async def _record(path: Path, steps: int) -> int:
    workflows.held.clear()  # of another program in this process
    async with Engine(path, grace=0) as engine:
        handle = await engine.submit(workflows.held_after, steps, id="long")
        await _until_held()
        return handle.status().key


async def _replay(path: Path, steps: int) -> float:
    workflows.marks.clear()
    async with Engine(path, grace=0) as engine:
        began = perf_counter()
        await engine.submit(workflows.held_after, steps, id="long")  # it attaches
        await _until_held()
        assert len(workflows.marks) == 1, "a step on record was taken again"
        return workflows.marks[-1] - began


async def _until_held() -> None:
    while not workflows.held:  # noqa: ASYNC110 - what is waited for marks a list
        await asyncio.sleep(0.001)
    workflows.held.clear()
