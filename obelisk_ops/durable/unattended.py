"""Answering the letters of a database that nobody owns: their effect is seen at once."""

from __future__ import annotations

from pathlib import Path

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.durable.owner import Limits, Owner
from obelisk_ops.durable.registry import Registry
from obelisk_ops.durable.workshop import Bench
from obelisk_ops.errors import DatabaseLocked

_LIMITS = Limits(bench=Bench(threads=1), grace_s=0.0, storage_timeout_s=5.0)


async def answer_letters(database: Path) -> bool:
    """
    Own a database for a moment, serving nothing; False when another process owns it.

    No code runs: what a letter asks for goes to the log and the inbox of its execution,
    and a worker takes it up from there.
    """
    try:
        owner = Owner(database, SystemClock(), Registry(), _LIMITS)
    except DatabaseLocked:
        return False
    try:
        await owner.answer_letters()
    finally:
        await owner.close()
    return True
