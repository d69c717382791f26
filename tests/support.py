"""What several kinds of tests use. No fixtures here; those are in conftest.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(probe: Callable[[], T], timeout_s: float, what: str) -> T:
    """Call *probe* until it returns something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s} s still not: {what} (last saw {seen!r})")
        time.sleep(0.02)
