"""
A worker whose activities take their process down; see test_crash_loop.py.

    python crashing.py DATABASE SIDE-EFFECTS WORKFLOW MAX-CRASHES
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from obelisk_ops import Engine, OpsError, activity, workflow
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import OutcomeUnknown

_side = ""


def die(name: str) -> None:
    """Leave a line, and take the process down."""
    with Path(_side).open("a") as side:
        side.write(f"{name} {activity.attempt()}\n")
    os.kill(os.getpid(), signal.SIGKILL)


@activity
async def deadly() -> None:
    """End the process, on the loop."""
    die("deadly")


@activity(at_most_once=True)
def deadly_once() -> None:
    """End the process, in a thread, but never again."""
    die("deadly_once")


@activity
async def harmless() -> str:
    """Do no harm."""
    return "fine"


@workflow
async def loops() -> None:
    """End the process each time."""
    await deadly()


@workflow
async def once() -> str:
    """End the process once, and live with not knowing what came of it."""
    try:
        await deadly_once()
    except OutcomeUnknown as error:
        return f"{await harmless()}: {error.code}"
    return "not reached"


@workflow
async def bystander() -> str:
    """Do no harm."""
    return await harmless()


FLOWS: dict[str, Workflow[[], Any]] = {
    flow.name.rpartition(".")[2]: flow for flow in (loops, once, bystander)
}


async def live(database: Path, name: str, max_crashes: int) -> None:
    """Drive one execution to its end, or to the end of this process."""
    async with Engine(
        database, workflows=list(FLOWS.values()), max_crashes=max_crashes
    ) as engine:
        try:
            print(await (await engine.submit(FLOWS[name], id=name)).result())  # noqa: T201
        except OpsError as error:
            print(error.code, error.message, error.hint, sep="|")  # noqa: T201


if __name__ == "__main__":
    _side = sys.argv[2]
    asyncio.run(live(Path(sys.argv[1]), sys.argv[3], int(sys.argv[4])))
