"""Threads that run before they are wanted: then there may be none to be had."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from obelisk_ops import process
from obelisk_ops.errors import TooManyProcesses


def started_pool(size: int, name: str) -> ThreadPoolExecutor:
    """
    Return a pool whose threads are there already, and called *name*.

    Raises:
        TooManyProcesses: The system starts no more threads.
    """
    pool, begin = ThreadPoolExecutor(size, thread_name_prefix=name), Event()
    try:
        # While all are held up, each task needs another thread.
        for _ in range(size):
            pool.submit(begin.wait)
    except RuntimeError:
        raise TooManyProcesses(
            "no thread can be started: too many processes or threads run",
            hint=process.MORE_PROCESSES,
        ) from None
    finally:
        begin.set()
    return pool
