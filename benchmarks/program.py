"""``python -m benchmarks.program NAME SIZE``: run one measured program, print its figures."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path

from obelisk_ops.durable.flow import watch

NAMES = (
    "sequential", "concurrent", "replay", "recovery", "volume", "idle", "pending", "memory",
    "timers", "barrier", "fleet", "points", "restore", "place", "search",
    "postgres", "postgres_full", "postgres_scale", "postgres_crowd",
)  # fmt: skip


def run(name: str, size: str, folder: Path) -> dict[str, float]:
    """Return the figures of one program, each named ``PROGRAM.FIGURE``."""
    module = importlib.import_module(f"benchmarks.programs.{name}")
    found: dict[str, float] = module.measure(folder, module.SIZES[size])
    return {f"{name}.{figure}": value for figure, value in found.items()}


def refuse_tests() -> None:
    """Refuse figures of a process in which engines watch all workflow code, as in tests."""
    if watch.is_wanted(None):
        raise SystemExit("this process is taken for a test: what did import pytest?")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as place:
        figures = run(sys.argv[1], sys.argv[2], Path(place))
        refuse_tests()
        print(json.dumps(figures))
