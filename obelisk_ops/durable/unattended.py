"""Answering the letters of a database that nobody owns: their effect is seen at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

from obelisk_ops.core import bundle
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.history import History
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.owner import Owner
from obelisk_ops.durable.work.workshop import Bench
from obelisk_ops.errors import DatabaseLocked
from obelisk_ops.storage import Address, is_owned, make_if_missing, open_mailbox
from obelisk_ops.storage.targets import check_new

_LIMITS = Limits(bench=Bench(threads=1), grace_s=0.0, storage_timeout_s=5.0)


async def answer_letters(database: Address) -> bool:
    """
    Own a database for a moment, serving nothing; False when another process owns it.

    No code runs: what a letter asks for goes to the log and the inbox of its execution,
    and a worker takes it up from there.
    """
    return await _own(database, Owner.answer_letters)


async def prune_unattended(database: Address) -> bool:
    """Do what the letters about retention ask for; False when another process owns it."""

    async def prune(owner: Owner) -> None:
        await owner.answer_letters()
        await owner.pruned()

    return await _own(database, prune)


async def _own(database: Address, work: Callable[[Owner], Awaitable[None]]) -> bool:
    if is_owned(database):
        return False
    try:
        owner = Owner(database, SystemClock(), Registry(), _LIMITS)
    except DatabaseLocked:
        return False
    try:
        await work(owner)
    finally:
        await owner.close()
    return True


def plant(database: Path, histories: Sequence[History]) -> None:
    """
    Make a database with these executions in it, the first one and what is below it.

    Raises:
        TargetExists: There is something at its path.
        StorageUnavailable: It cannot be made.
    """
    check_new(database, instead="choose another path")
    make_if_missing(database)
    root = histories[0].execution_id
    with closing(open_mailbox(database)) as mailbox:
        mailbox.ask("import", root, bundle.to_json(histories), now_ms=SystemClock().now_ms())
    asyncio.run(answer_letters(database))
