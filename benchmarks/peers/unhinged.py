"""unhinged: Absurd's engine on SQLite, WAL and ``synchronous=FULL``, eight workers."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

from unhinged import Unhinged

from benchmarks.peers.shared import STEPS, Size, latencies, main, mark, marks

WORKERS = 8
POLL_S = 0.02


def _app(path: Path) -> Unhinged:
    app = Unhinged(str(path), queue_name="bench", synchronous="full")

    @app.register_task("work")
    def work(params: dict[str, int], ctx: Any) -> int:
        total = 0
        for number in range(params["steps"]):
            total += ctx.step("step", lambda number=number: mark(number))
        return total

    return app


def sequential(folder: Path, size: Size) -> dict[str, float]:
    app = _app(folder / "sequential.db")
    app.spawn("work", {"steps": size.steps})
    app.start_worker(stop_when_idle=True, poll_interval=POLL_S)
    app.close()
    return latencies("def")


def concurrent(folder: Path, size: Size) -> dict[str, float]:
    app = _app(folder / "concurrent.db")
    began = perf_counter()
    for _ in range(size.workflows):
        app.spawn("work", {"steps": STEPS})
    app.start_worker(concurrency=WORKERS, stop_when_idle=True, poll_interval=POLL_S)
    took = perf_counter() - began
    app.close()
    assert len(marks) == STEPS * size.workflows
    return {"def.rate": STEPS * size.workflows / took}


def replay(folder: Path, size: Size) -> dict[str, float]:
    """Fail after the last step; the retry finds every step on record."""
    app = Unhinged(str(folder / "replay.db"), queue_name="bench", synchronous="full")
    took: list[float] = []

    @app.register_task("work")
    def work(_params: object, ctx: Any) -> None:
        began = perf_counter()
        for number in range(size.replayed):
            ctx.step("step", lambda number=number: mark(number))
        took.append(perf_counter() - began)
        if len(took) == 1:
            raise RuntimeError("once more")

    app.spawn("work", {}, max_attempts=2)
    app.start_worker(stop_when_idle=True, poll_interval=POLL_S)
    app.close()
    assert len(marks) == size.replayed, json.dumps(len(marks))
    return {"ours_ms": took[1] * 1000}


if __name__ == "__main__":
    main({"sequential": sequential, "concurrent": concurrent, "replay": replay})
