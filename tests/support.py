"""What several kinds of tests use. No fixtures here; those are in conftest.py."""

from __future__ import annotations

import faulthandler
import signal
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

#: A machine that has other things to do is no failure: so long a condition is always given.
PATIENCE_S = 90.0


def wait_until(probe: Callable[[], T], timeout_s: float, what: str) -> T:
    """
    Call *probe* until it returns something true, and return that.

    For what comes in the end; it is given PATIENCE_S at least. Where the time is what a test
    proves, see ``within``.
    """
    return within(max(timeout_s, PATIENCE_S), probe, what)


def within(limit_s: float, probe: Callable[[], T], what: str) -> T:
    """Call *probe* until it returns something true, which has to be by then; return that."""
    deadline = time.monotonic() + limit_s
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"after {limit_s:g} s still not: {what} (last saw {seen!r})")
        time.sleep(0.02)


def crash_here(*_arguments: object) -> None:
    """Die as of a bug in SQLite; to be put where a child process comes by."""
    faulthandler.disable()  # pytest's would tell of it
    signal.raise_signal(signal.SIGSEGV)


def runs(process: psutil.Process) -> bool:
    """Tell whether it has not ended; whoever inherits it may take its time to collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
