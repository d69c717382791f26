"""``python -m benchmarks.program NAME SIZE``: run one measured program, print its figures."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path

NAMES = (
    "sequential", "concurrent", "replay", "recovery", "volume", "idle", "pending", "memory",
    "timers", "barrier", "fleet", "points", "restore", "place", "search",
    "postgres", "postgres_full",
)  # fmt: skip


def run(name: str, size: str, folder: Path) -> dict[str, float]:
    """Return the figures of one program, each named ``PROGRAM.FIGURE``."""
    module = importlib.import_module(f"benchmarks.programs.{name}")
    found: dict[str, float] = module.measure(folder, module.SIZES[size])
    return {f"{name}.{figure}": value for figure, value in found.items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as place:
        print(json.dumps(run(sys.argv[1], sys.argv[2], Path(place))))
