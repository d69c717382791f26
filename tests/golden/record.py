"""
Adds a history: python -m tests.golden.record NAME

What is there is never written again: it stands for what some version has recorded. A
scenario that is to look different gets another name.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from obelisk_ops.core.events import Event
from obelisk_ops.core.history import History, to_json
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.testing import EngineForTests
from tests.databases import Databases, Files
from tests.golden import flows

FOLDER = Path(__file__).parent
DIGESTS = FOLDER / "digests.txt"

Scenario = Callable[[EngineForTests], Awaitable[None]]
SCENARIOS: dict[str, tuple[str, Scenario]] = {}


def scenario(*kept: str) -> Callable[[Scenario], Scenario]:
    """Register what leads to the executions that are kept: NAME, or NAME=EXECUTION."""

    def register(play: Scenario) -> Scenario:
        for one in kept:
            name, _, execution_id = one.partition("=")
            SCENARIOS[name] = (execution_id or name, play)
        return play

    return register


@scenario("activities")
async def _activities(engine: EngineForTests) -> None:
    await engine.submit(flows.activities, 4, id="activities")
    await engine.clock.advance(days=1)


@scenario("activities-through-crashes")
async def _crashes(engine: EngineForTests) -> None:
    engine.crash_before(event="returned")
    engine.crash_after(event="attempt_failed")
    await engine.submit(flows.activities, 4, id="activities-through-crashes")
    await engine.clock.advance(days=1)


@scenario("failure")
async def _failure(engine: EngineForTests) -> None:
    await engine.submit(flows.failure, "card declined", id="failure")
    await engine.settle()


@scenario("instants")
async def _instants(engine: EngineForTests) -> None:
    await engine.submit(flows.instants, id="instants")
    await engine.clock.advance(days=1)


@scenario("joins")
async def _joins(engine: EngineForTests) -> None:
    await engine.submit(flows.joins, id="joins")
    await engine.clock.advance(days=1, wait=False)


@scenario("parent", "child-that-fails=parent/2")
async def _parent(engine: EngineForTests) -> None:
    await engine.submit(flows.parent, id="parent")
    await engine.clock.advance(days=1)


@scenario("signals")
async def _signals(engine: EngineForTests) -> None:
    handle = await engine.submit(flows.signals, id="signals")
    await handle.signal(flows.go, 1)
    await handle.signal(flows.go, 2, id="second")
    await handle.signal(flows.go, 2, id="second")
    await engine.clock.advance(days=1)


@scenario("misfits")
async def _misfits(engine: EngineForTests) -> None:
    handle = await engine.submit(flows.misfits, id="misfits")
    await engine.settle()
    for value in ("one", 1, [2]):
        await handle.signal("odd", value)
    await engine.clock.advance(days=1)


@scenario("stubs")
async def _stubs(engine: EngineForTests) -> None:
    await engine.submit(flows.stubs, id="stubs")
    await engine.stub("stubs/1", "yes")
    await engine.settle()
    await engine.stub("stubs/2", error=ValueError("nobody knows"))
    await engine.settle()


@scenario("cancelled")
async def _cancelled(engine: EngineForTests) -> None:
    handle = await engine.submit(flows.cancelled, id="cancelled")
    await engine.settle()
    await handle.cancel()
    await engine.settle()


@scenario("cancels", "cancelled-by-its-parent=cancels/1")
async def _cancels(engine: EngineForTests) -> None:
    await engine.submit(flows.cancels, id="cancels")
    await engine.clock.advance(seconds=1)


@scenario("late")
async def _late(engine: EngineForTests) -> None:
    await engine.submit(flows.late, id="late")
    await engine.clock.advance(minutes=2)


@scenario("side-by-side")
async def _side_by_side(engine: EngineForTests) -> None:
    await engine.submit(flows.side_by_side, id="side-by-side")
    await engine.clock.advance(days=1, wait=False)


@scenario("plans", "scheduled=plans/2")
async def _plans(engine: EngineForTests) -> None:
    await engine.submit(flows.plans, id="plans")
    await engine.clock.advance(days=1)


@scenario("counts", "counts-on=counts~3")
async def _counts(engine: EngineForTests) -> None:
    await engine.submit(flows.counts, 0, id="counts")
    await engine.settle()


@scenario("changed")
async def _changed(engine: EngineForTests) -> None:
    await engine.submit(flows.changed, 4, id="changed")
    await engine.settle()


@scenario("paused")
async def _paused(engine: EngineForTests) -> None:
    handle = await engine.submit(flows.steps, 2, id="paused")
    await engine.clock.advance(milliseconds=500)
    await handle.pause()
    await engine.clock.advance(minutes=1)
    await engine.crash()
    await engine.clock.advance(minutes=1)
    await handle.unpause()
    await engine.clock.advance(minutes=1)


@scenario("created-paused")
async def _created_paused(engine: EngineForTests) -> None:
    handle = await engine.submit_json(
        flows.steps, b"[1]", execution_id="created-paused", paused=True
    )
    await engine.clock.advance(days=1)
    await handle.unpause()
    await engine.clock.advance(minutes=1)


@scenario("fork")
async def _fork(engine: EngineForTests) -> None:
    await engine.submit(flows.steps, 3, id="origin")
    await engine.clock.advance(minutes=1)
    await engine.fork("origin", from_version=6, id="fork")
    await engine.clock.advance(minutes=1)


@scenario("unfinished")
async def _unfinished(engine: EngineForTests) -> None:
    await engine.submit(flows.steps, 3, id="unfinished")
    await engine.clock.advance(seconds=1)


def recorded(name: str, databases: Databases | None = None) -> History:
    """Play a scenario, on a file unless told otherwise, and return the history it is for."""
    execution_id, play = SCENARIOS[name]

    async def main() -> History:
        with (databases or Files()).lent() as db:
            served = list(flows.FLOWS.values())
            async with EngineForTests(db, workflows=served) as engine:
                await play(engine)
                return engine.history(execution_id)

    return _without_tracebacks(asyncio.run(main()))


def _without_tracebacks(history: History) -> History:
    """Leave out what names files of whoever recorded it."""
    return replace(
        history,
        events=[Event(e.version, e.at, e.kind, _blank(e.body)) for e in history.events],
        inbox={
            seq: InboxItem(item.kind, item.ref, item.at, _blank(item.body))
            for seq, item in history.inbox.items()
        },
    )


def _blank(body: str) -> str:
    plain: dict[str, Any] = msgspec.json.decode(body)
    if isinstance(plain.get("error"), dict):
        plain["error"].pop("traceback", None)
        return msgspec.json.encode(plain).decode()
    return body


def main(names: list[str]) -> int:
    """Write histories that are not there; return the exit status."""
    if not names:
        names = [name for name in SCENARIOS if not (FOLDER / f"{name}.json").exists()]
    for name in names:
        file = FOLDER / f"{name}.json"
        if name not in SCENARIOS or file.exists():
            known = ", ".join(SCENARIOS)
            sys.stderr.write(f"{name}: it is there, or no scenario. Scenarios: {known}\n")
            return 2
        text = to_json(recorded(name))
        file.write_text(text, encoding="utf-8")
        with DIGESTS.open("a", encoding="utf-8") as digests:
            digests.write(f"{hashlib.sha256(text.encode()).hexdigest()}  {file.name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
