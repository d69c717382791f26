"""A workflow that must pay at most once; see test_gated.py. The diary tells what ran."""

from __future__ import annotations

import os
import time
from pathlib import Path

from obelisk_ops import activity, gather, workflow


@activity(at_most_once=True)
def pay(diary: str) -> str:
    """Note that it ran; and never end, where that is asked for."""
    with Path(diary).open("a") as book:
        book.write("ran\n")
    while "HANGS" in os.environ:
        time.sleep(1)
    return "paid"


@workflow
async def pays(diary: str) -> str:
    """Pay; what its engine says counts."""
    return await pay(diary)


@workflow
async def pays_for_sure(diary: str) -> str:
    """Pay; the activity itself says when."""
    return await pay.options(durability="replicated")(diary)


@activity
def write_down(_diary: str) -> str:
    """Something harmless, of which the bucket is to know."""
    return "written"


@workflow
async def pays_and_writes(diary: str) -> str:
    """Pay while something else makes the whole turn wait for the bucket."""
    paid: str
    paid, _ = await gather(pay(diary), write_down.options(durability="replicated")(diary))
    return paid
