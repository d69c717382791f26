"""Threads for ``def`` activities that do not keep the process alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """
    Up to *limit* threads, started as they are needed.

    Not a ThreadPoolExecutor: the interpreter waits for its threads before it exits, so
    an activity that hangs would hold the process beyond every grace period.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._count = 0
        self._busy = 0

    def run(self, job: Callable[[], object]) -> None:
        """Run *job*, which must not raise, in a thread of its own or after another."""
        self._busy += 1
        if self._busy > self._count and self._count < self._limit:
            name = f"activity-{self._count + 1}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._count += 1
        self._jobs.put(job)

    def done(self) -> None:
        """Say that a job has ended; called by the thread that calls ``run``."""
        self._busy -= 1

    def stop(self) -> None:
        """Let every thread end after the job it has."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
