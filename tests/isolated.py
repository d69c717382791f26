"""Activities that run in child processes; they stand at the top of a module, as they must."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from obelisk_ops import Retry, activity, workflow

QUICK = Retry(max_attempts=2, initial=timedelta(milliseconds=1), jitter=0)


class Odd(Exception):
    """An error of this module."""


@activity(isolation="process", retry=QUICK)
def whoami(note: str) -> dict[str, Any]:
    """Say who runs, and print on both streams."""
    print("out", note)  # noqa: T201 - it is kept
    print("err", note, file=sys.stderr)  # noqa: T201
    activity.heartbeat({"note": note})
    return {
        "pid": os.getpid(),
        "key": activity.idempotency_key(),
        "attempt": activity.attempt(),
        "before": activity.heartbeat_details(),
    }


@activity(isolation="process", retry=QUICK)
def fails(note: str) -> None:
    """Fail, and leave a heartbeat behind."""
    before = activity.heartbeat_details(list[int])
    activity.heartbeat([*(before or []), activity.attempt()])
    raise Odd(f"{note}: {before}")


@activity(isolation="process", retry=Retry(max_attempts=1))
def hangs(side: str) -> None:
    """Never end, nor let a grandchild end."""
    if os.fork() == 0:
        time.sleep(60)
    Path(side).write_text(f"{os.getpid()}")
    time.sleep(60)


@activity(isolation="process", retry=Retry(max_attempts=1))
def killed() -> None:
    """End without an outcome."""
    os.kill(os.getpid(), signal.SIGKILL)


@workflow
async def ask_who(note: str) -> dict[str, Any]:
    """Call whoami."""
    return await whoami(note)


@workflow
async def ask_fails(note: str) -> None:
    """Call fails."""
    await fails(note)


@workflow
async def ask_hangs(side: str, limit_s: float = 60) -> None:
    """Call hangs."""
    await hangs.options(timeout=limit_s)(side)


@workflow
async def ask_killed(*, once: bool) -> None:
    """Call killed."""
    await killed.options(at_most_once=once)()
