"""Workflows whose activities run elsewhere and note in a file that they ran."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from obelisk_ops import activity, join_set, workflow
from obelisk_ops.errors import OutcomeUnknown


def note(side: str, word: str) -> None:
    with Path(side).open("a") as file:
        file.write(f"{word} {activity.idempotency_key()} {os.getpid()}\n")


@activity(queue="gpu")
def fetch(side: str, n: int) -> int:
    """Take a moment."""
    note(side, "begin")
    time.sleep(0.02)
    note(side, "end")
    return n


@activity(queue="gpu", at_most_once=True)
def pay(side: str, n: int) -> int:
    """Do the same, at most once."""
    note(side, "pay")
    time.sleep(0.02)
    return n


@workflow
async def fetches(side: str, steps: int) -> list[int]:
    """Fetch two at a time, then pay; a payment of which nobody knows counts as none."""
    got = []
    for n in range(0, steps, 2):
        async with join_set() as pair:
            pair.submit(fetch, side, n)
            pair.submit(fetch, side, n + 1)
            got += sorted([one async for one in pair])
        with suppress(OutcomeUnknown):
            await pay(side, n)
    return got
