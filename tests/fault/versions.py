"""
A worker with the old code, or with the new; see test_workers_versions.py.

    python versions.py URL SIDE-EFFECTS old|new
"""

from __future__ import annotations

import asyncio
import sys

from obelisk_ops import workflow
from tests.fault.working import hold, serve, step

_AGE = sys.argv[3] if __name__ == "__main__" else ""


@workflow
async def changed(gate: str) -> str:
    """Wait for a file; the new code takes a step before that, which no old log has."""
    if _AGE == "new":
        await step(1)
    await hold(gate)
    return _AGE


@workflow
async def fresh(n: int) -> int:
    """Take a step; the old code does not know it."""
    return await step(n)


if __name__ == "__main__":
    known = [changed] if _AGE == "old" else [changed, fresh]
    asyncio.run(serve(sys.argv[1], sys.argv[2], known))
