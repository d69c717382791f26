"""One workflow, one step after another, in turns with bare commits on the same disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import bare, stats, workflows
from obelisk_ops import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """*blocks* times *steps* of each kind, in turns."""

    blocks: int
    steps: int


SIZES = {"full": Size(blocks=8, steps=250), "tiny": Size(blocks=2, steps=40)}
ONCE = False
KINDS = {"async": workflows.asynchronous, "def": workflows.threaded}


@dataclass(slots=True)
class Line:
    """What was measured of one kind."""

    rates: list[float]
    latencies: list[float]


def measure(folder: Path, size: Size) -> dict[str, float]:
    return asyncio.run(_measure(folder, size))


async def _measure(folder: Path, size: Size) -> dict[str, float]:
    floors = {
        "bare": bare.Commits(folder / "bare.db"),
        "recycled": bare.Commits(folder / "recycled.db", bare.RECYCLED),
    }
    lines = {name: Line([], []) for name in (*floors, *KINDS)}
    async with Engine(folder / "ours.db") as engine:
        for block in range(size.blocks + 1):
            found = {name: _bare(floor, size.steps) for name, floor in floors.items()}
            for name, function in KINDS.items():
                found[name] = await _ours(engine, function, size.steps)
            if block:  # the first one warms up
                for name, (rate, seconds) in found.items():
                    lines[name].rates.append(rate)
                    lines[name].latencies.extend(seconds)
    for floor in floors.values():
        floor.close()
    return _figures(lines)


def _bare(floor: bare.Commits, steps: int) -> tuple[float, list[float]]:
    moments = floor.times(steps)
    return steps / (moments[-1] - moments[0]), stats.gaps(moments)


async def _ours(
    engine: Engine, function: workflows.Counting, steps: int
) -> tuple[float, list[float]]:
    workflows.marks.clear()
    began = perf_counter()
    await (await engine.submit(function, steps)).result()
    rate = steps / (perf_counter() - began)
    return rate, stats.gaps(workflows.marks)


def _figures(lines: dict[str, Line]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, line in lines.items():
        figures[f"{name}.rate"] = stats.median(line.rates)
        figures |= stats.prefixed(name, stats.latencies(line.latencies))
        if name in KINDS:
            figures[f"{name}.of_bare"] = _share(line, lines["bare"])
            figures[f"{name}.of_recycled"] = _share(line, lines["recycled"])
            figures[f"{name}.p99_of_bare"] = figures[f"{name}.p99_ms"] / figures["bare.p99_ms"]
    return figures


def _share(line: Line, floor: Line) -> float:
    return stats.median([a / b for a, b in zip(line.rates, floor.rates, strict=True)])
