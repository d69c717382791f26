"""What the peers' programs have in common. Standard library only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter

STEPS = 5


@dataclass(frozen=True)
class Size:
    """Steps of the one workflow, how many workflows at once, steps to replay."""

    steps: int
    workflows: int
    replayed: int


SIZES = {
    "full": Size(steps=1000, workflows=1000, replayed=10_000),
    "less": Size(steps=500, workflows=200, replayed=2000),
    "tiny": Size(steps=20, workflows=10, replayed=50),
}

#: when each step began
marks: list[float] = []


def mark(number: int) -> int:
    """Be a step: note the moment, return the number."""
    marks.append(perf_counter())
    return number


def latencies(name: str) -> dict[str, float]:
    """Return rate, p50 and p99 of the steps that left marks, and forget those."""
    gaps = sorted(later - earlier for earlier, later in pairwise(marks))
    figures = {
        f"{name}.rate": len(gaps) / (marks[-1] - marks[0]),
        f"{name}.p50_ms": gaps[len(gaps) // 2] * 1000,
        f"{name}.p99_ms": gaps[int(len(gaps) * 0.99)] * 1000,
    }
    marks.clear()
    return figures


Program = Callable[[Path, Size], dict[str, float]]


def main(programs: Mapping[str, Program]) -> None:
    """Run one program and print its figures."""
    name, size, folder = sys.argv[1:4]
    found = programs[name](Path(folder), SIZES[size])
    print(json.dumps({f"{name}.{figure}": value for figure, value in found.items()}))
