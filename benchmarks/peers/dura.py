"""dura: checkpoints in SQLite, WAL and ``synchronous=FULL`` (its default), eight workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from dura import DurableEngine
from dura.workers import run_worker

from benchmarks.peers.shared import STEPS, Size, latencies, main, mark, marks

WORKERS = 8
POLL_S = 0.02


def _work(engine: Any, task: Any) -> int:
    total = 0
    for number in range(task.params["steps"]):
        total += engine.checkpoint(
            task_id=task.task_id,
            step_name=f"step-{number}",
            fn=lambda number=number: mark(number),
        )
    return total


def _drain(engine: Any, handler: Callable[[Any, Any], Any], workers: int, count: int) -> None:
    """Run workers until *count* tasks are completed."""
    stop = threading.Event()
    ended: list[object] = []

    def counted(engine: Any, task: Any) -> Any:
        result = handler(engine, task)
        ended.append(task)
        return result

    options = {"handlers": {"work": counted}, "stop_event": stop, "poll_interval": POLL_S}
    threads = [
        threading.Thread(
            target=run_worker, args=(engine,), kwargs={**options, "worker_id": str(number)}
        )
        for number in range(workers)
    ]
    for thread in threads:
        thread.start()
    while len(ended) < count:
        sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join()


def sequential(folder: Path, size: Size) -> dict[str, float]:
    engine = DurableEngine(str(folder / "sequential.db"))
    engine.spawn_task(name="work", params={"steps": size.steps})
    _drain(engine, _work, 1, 1)
    return latencies("def")


def concurrent(folder: Path, size: Size) -> dict[str, float]:
    engine = DurableEngine(str(folder / "concurrent.db"))
    began = perf_counter()
    for _ in range(size.workflows):
        engine.spawn_task(name="work", params={"steps": STEPS})
    _drain(engine, _work, WORKERS, size.workflows)
    took = perf_counter() - began
    assert len(marks) == STEPS * size.workflows
    return {"def.rate": STEPS * size.workflows / took}


def replay(folder: Path, size: Size) -> dict[str, float]:
    """Run the same task's code twice; the second time finds every step on record."""
    engine = DurableEngine(str(folder / "replay.db"))
    engine.spawn_task(name="work", params={"steps": size.replayed})
    took: list[float] = []

    def twice(engine: Any, task: Any) -> None:
        for _ in range(2):
            began = perf_counter()
            _work(engine, task)
            took.append(perf_counter() - began)

    _drain(engine, twice, 1, 1)
    assert len(marks) == size.replayed
    return {"ours_ms": took[1] * 1000}


if __name__ == "__main__":
    main({"sequential": sequential, "concurrent": concurrent, "replay": replay})
