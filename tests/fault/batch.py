"""
A worker that runs random programs, and is killed again and again; see test_kill_programs.py.

    python -m tests.fault.batch DATABASE PROGRAMS
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from obelisk_ops import Engine
from tests.programs import FLOWS, answer_stubs, interpret, send_signals


async def live(database: str, programs: dict[str, list[Any]]) -> None:
    """Ask for all programs, do what they want from outside, and wait for all ends."""
    async with Engine(database, workflows=FLOWS) as engine:
        for name, program in programs.items():
            await engine.submit(interpret, program, id=name)
            await send_signals(engine, name, program)
        while any(row.state != "finished" for row in engine.list(limit=100_000)):
            await answer_stubs(engine)
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    sys.stdout.write("up\n")
    sys.stdout.flush()
    asyncio.run(live(sys.argv[1], json.loads(Path(sys.argv[2]).read_text())))
