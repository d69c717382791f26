"""``run``: one workflow to its end, for scripts and notebooks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from obelisk_ops.core.barrier import Durability
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import OpsError

R = TypeVar("R")


def run(
    function: Workflow[..., R],
    /,
    *args: Any,  # noqa: ANN401 - the workflow's own, checked against its signature
    db: str | Path,
    id: str | None = None,  # noqa: A002 - it is what everybody calls it
    durability: Durability = "local",
    **kwargs: Any,  # noqa: ANN401
) -> R:
    """
    Run a workflow to its end, and return its value.

    It works where an event loop is running already, as in a notebook. With an ``id``
    it can be called again after a crash: what was done is not done again.

    Args:
        function: The workflow.
        *args: Its arguments.
        db: Path of the SQLite file, or ``postgresql://…``; made if there is none.
        id: The execution's id, drawn if left out.
        durability: ``replicated`` to return when the bucket holds it, see Engine.
        **kwargs: Its arguments by name.

    Raises:
        ExecutionFailed: The workflow raised; its own error is the cause.
        ReplicationTimeout: The bucket could not be proven to hold it in time.
        DatabaseLocked: Another process owns the database.
    """

    async def main() -> R:
        async with Engine(db, durability=durability) as engine:
            handle = await engine.submit(function, *args, id=id, **kwargs)
            return await handle.result()

    try:
        if not _is_in_a_loop():
            return asyncio.run(main())
        with ThreadPoolExecutor(1) as other_thread:
            return other_thread.submit(asyncio.run, main()).result()
    except OpsError as error:
        if error.hint:  # nobody prints it here: a traceback shows notes
            error.add_note(f"hint: {error.hint}")
        raise


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
