"""How late timers fire: from the time on record to the activity after the sleep."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks import stats, workflows
from obelisk_ops import Engine, Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many timers, spread over how many seconds."""

    timers: int
    seconds: float


SIZES = {"full": Size(timers=500, seconds=3.0), "tiny": Size(timers=20, seconds=0.4)}
ONCE = False


def measure(folder: Path, size: Size) -> dict[str, float]:
    late = sorted(asyncio.run(_measure(folder / "timers.db", size)))
    return {
        "p50_ms": stats.percentile(late, 0.5),
        "p99_ms": stats.percentile(late, 0.99),
        "worst_ms": late[-1],
    }


async def _measure(path: Path, size: Size) -> list[float]:
    chance = Random(1)
    workflows.woken.clear()
    async with Engine(path) as engine:
        waits = [0.2 + size.seconds * chance.random() for _ in range(size.timers)]
        asking = [engine.submit(workflows.sleeper, wait) for wait in waits]
        handles = await asyncio.gather(*asking)
        for handle in handles:
            await handle.result()
        return [workflows.woken[handle.id] * 1000 - _due(handle) for handle in handles]


def _due(handle: Handle[None]) -> float:
    events = (event for event in handle.events() if event.kind == "timer_set")
    return float(json.loads(next(events).body)["until"])
