"""
Killed at each of its commits, and asked again for what it was asked for: the same outcome.

A scenario is a workflow and what others ask of it, each at its time. After a crash the
clock goes on from there; whoever asked before asks once more, as one does who had no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk_ops import (
    Cancelled,
    Engine,
    Retry,
    Signal,
    activity,
    continue_as_new,
    first,
    gather,
    join_set,
    saga,
    schedule,
    sleep,
    stub,
    timeout,
    workflow,
)
from obelisk_ops.core.events import Body, Created
from obelisk_ops.core.ports import ExecutionFilter, State
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.errors import Conflict, ExecutionError, NotFound
from obelisk_ops.storage import open_reader
from tests.databases import Database
from tests.world import BEGINNING_MS, World, check_tables, knows

Ask = Callable[[Engine], Awaitable[object]]

note = Signal("note", str)
go = Signal("go", int)
TWICE = Retry(max_attempts=2, initial=timedelta(seconds=4), factor=1, jitter=0)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is run, what is asked and after how many seconds, and what comes of it."""

    flow: Any
    value: object
    asks: tuple[tuple[float, Ask], ...] = ()
    paused: bool = False
    others: tuple[str, ...] = ()


def to(kind: str, target: str = "f", body: str = "{}") -> Ask:
    return lambda engine: engine.ask(kind, target, body)


def signal(name: str, value: object, signal_id: str, target: str = "f") -> Ask:
    body = {"name": name, "value": value, "id": signal_id}
    return to("signal", target, msgspec.json.encode(body).decode())


def answer(call_id: str, value: object) -> Ask:
    return to("stub", call_id, msgspec.json.encode({"ok": value}).decode())


@activity
async def act(value: str, seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    return value


@activity(retry=TWICE)
async def flaky(value: str, seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    if activity.attempt() == 1:
        raise ConnectionError
    return value


@stub
def decide(order: str) -> str:
    """Somebody decides."""
    raise NotImplementedError


# -- signals and results from outside ------------------------------------------------------


@workflow
async def listens() -> list[Any]:
    heard: list[Any] = [await note.receive(), await note.receive(timeout=5)]
    heard += [await note.receive(timeout=10)]
    await sleep(10)
    return [*heard, await gather(go.receive(), note.receive()), await go.receive(timeout=0)]


@workflow
async def asks_outside() -> list[Any]:
    async with join_set("both") as both:
        both.submit(decide, "a")
        both.submit(decide, "b")
        answers = sorted([str(one) async for one in both])
    try:
        async with timeout(5):
            await decide("c")
    except TimeoutError:
        answers.append("too late")
    return answers


# -- cancelling ----------------------------------------------------------------------------


@workflow
async def cleans_up() -> str:
    try:
        async with saga() as undo:
            undo.add(act, await act("one"))
            undo.add(act, await act("two", 1))
            await gather(act("never", 1000), sleep(1000), note.receive(timeout=1000))
    except Cancelled:
        await act("last words", 2)
        await sleep(1)
        return "went on"
    return "not cancelled"


@workflow(cancellable=True)
async def goes_too(depth: int) -> str:
    try:
        await (goes_too(depth - 1) if depth else sleep(1000))
    finally:
        await act("cleaned up", 1)
    return "not cancelled"


@workflow
async def stays(seconds: float) -> str:
    await sleep(seconds)
    return "stayed"


@workflow
async def family() -> list[Any]:
    async with join_set("all") as members:
        members.submit(goes_too, 2)
        members.submit(stays, 8)
        members.submit(act, "never", 1000)
        await sleep(5)
    got = await gather(goes_too(1), stays(3), timed(1), return_exceptions=True)
    return [value if isinstance(value, str) else type(value).__name__ for value in got]


@workflow
async def family_cancelled() -> list[Any]:
    try:
        await gather(goes_too(1), stays(9), sleep(1000))
    except Cancelled:
        return [await stays(1)]
    return []


# -- limits, beginnings, pauses --------------------------------------------------------------


@workflow(timeout=10)
async def timed(seconds: float) -> str:
    try:
        await sleep(seconds)
    finally:
        await act("cleaned up", 1)
    return "in time"


@workflow
async def reports(name: str) -> str:
    await act(name)
    await sleep(1)
    return name


@workflow
async def begins_others() -> list[str]:
    made = [str(schedule(reports, "soon")), str(schedule(reports, "later", after=20))]
    return [*made, await act("done")]


@workflow
async def works() -> list[Any]:
    return [
        await gather(act("a", 3), flaky("b", 3), reports("c"), sleep(6), note.receive()),
        await act("d"),
    ]


# -- going on as new ones ------------------------------------------------------------------


@workflow
async def loops(heard: list[str], left: int) -> list[str]:
    if left == 0:
        return heard
    if left == 2:
        continue_as_new([*heard, "-"], 1)
    text = await note.receive()
    await act("work", 1)
    return continue_as_new([*heard, str(text)], left - 1)


@workflow
async def waits_for_a_loop() -> list[Any]:
    index, winner = await first(loops([], 4), sleep(1000))
    return [index, winner]


# -- all at once ---------------------------------------------------------------------------


@workflow
async def mixed() -> list[Any]:
    seen: list[Any] = []
    async with join_set("outer") as outer:
        outer.submit(act, "a", 2)
        outer.submit_delay(4)
        async with join_set("inner") as inner:
            inner.submit(flaky, "b")
            seen.append(inner.try_next("nothing yet"))
            seen.append(outer.try_next("nothing yet"))
            await sleep(3)
            seen.append(outer.try_next("nothing yet"))
            seen.append(await inner.next())
        seen.append(await outer.next())
    try:
        async with timeout(3), timeout(60):
            await gather(stays(5), act("c", 1), _nested())
    except TimeoutError:
        seen.append("timeout")
    seen.append(await first(act("slow", 100), _nested(), sleep(50)))
    return seen


async def _nested() -> str:
    async with saga() as undo:
        undo.add(act, "undone")
        got = await gather(act("x", 1), sleep(2), return_exceptions=True)
        return str(got[0])


SCENARIOS: dict[str, Scenario] = {
    "signals": Scenario(
        flow=listens, value=["a", "b", None, [7, "c"], 8],
        asks=((1, signal("note", "a", "1")), (1, signal("note", "b", "2")),
              (2, signal("go", 7, "3")), (18, signal("note", "c", "4")),
              (18, signal("go", 8, "5"))),
    ),
    "stubs": Scenario(
        flow=asks_outside, value=["yes", "yes", "too late"],
        asks=((1, answer("f/2", "yes")), (3, answer("f/1", "yes"))),
    ),
    "cancelled": Scenario(flow=cleans_up, value="went on", asks=((4, to("cancel")),)),
    "cancelled while paused": Scenario(
        flow=cleans_up, value="went on", asks=((2, to("pause")), (5, to("cancel"))),
    ),
    "a family": Scenario(flow=family, value=None),
    "a family cancelled": Scenario(
        flow=family_cancelled, value=["stayed"], asks=((3, to("cancel")),),
    ),
    "a limit": Scenario(flow=timed, value="ExecutionTimedOut"),
    "a limit in a pause": Scenario(
        flow=timed, value="ExecutionTimedOut", asks=((5, to("pause")), (25, to("unpause"))),
    ),
    "beginning later": Scenario(
        flow=begins_others, value=["f/1", "f/2", "done"], others=("f/1", "f/2"),
    ),
    "created paused": Scenario(
        flow=works, value=[["a", "b", "c", None, "x"], "d"], paused=True,
        asks=((1, signal("note", "x", "1")), (2, to("unpause"))),
    ),
    "a pause": Scenario(
        flow=works, value=[["a", "b", "c", None, "x"], "d"],
        asks=((1, to("pause")), (4, signal("note", "x", "1")), (20, to("unpause"))),
    ),
    "going on": Scenario(
        flow=loops, value=["a", "b", "-", "c"],
        asks=tuple((1, signal("note", text, text)) for text in "abc"),
    ),
    "a child that goes on": Scenario(
        flow=waits_for_a_loop, value=[0, ["a", "b", "-", "c"]],
        asks=tuple((1, signal("note", text, text, "f/1")) for text in "abc"),
    ),
    "all at once": Scenario(flow=mixed, value=None),
}  # fmt: skip

ARGS: dict[str, bytes] = {"going on": b"[[], 4]"} | dict.fromkeys(
    ("a limit", "a limit in a pause"), b"[1000]"
)
FLOWS = [value for value in list(globals().values()) if isinstance(value, Workflow)]


class Nothing:
    """A host that is asked for nothing: the log has it all."""

    def admit(self, n: int, pending: Pending) -> int:
        raise AssertionError(n)

    def record(self, body: Body) -> None:
        raise AssertionError(body)


def replay_all(db: Database) -> None:
    """Replays of what is finished ask for nothing that is not on record."""
    known = {flow.name: flow for flow in FLOWS}
    with closing(open_reader(db)) as reader:
        for row in reader.executions(ExecutionFilter(limit=10_000)):
            assert row.state is State.FINISHED, row
            history = reader.log(row.key)
            created = msgspec.json.decode(history[0].body, type=Created)
            flow = known[row.function]
            machine = Machine(row.id, flow, created, at=history[0].at, host=Nothing())
            machine.replay(history[1:], reader.inbox(row.key))
            assert machine.finished is not None


def ended_at(db: Database) -> float:
    """Return when a database was left, in seconds since the beginning."""
    with closing(open_reader(db)) as reader:
        rows = reader.executions(ExecutionFilter(limit=10_000))
        moments = [event.at for row in rows for event in reader.log(row.key)]
        moments += [item.at for row in rows for item in reader.inbox(row.key).values()]
    return max(0.0, (max(moments) - BEGINNING_MS) / 1000)


async def play(world: World, engine: Engine, name: str) -> object:
    """Begin, or go on; ask for all in time; return what comes of it."""
    scenario = SCENARIOS[name]
    handle = await engine.submit_json(
        scenario.flow, ARGS.get(name, b"[]"), execution_id="f", paused=scenario.paused
    )
    asking = asyncio.create_task(ask_all(world, engine, scenario))
    try:
        outcome: object = await handle.result()
    except ExecutionError as error:
        outcome = type(error).__name__
    await asking
    for other in scenario.others:
        await engine.handle(other).result()
    return outcome


async def ask_all(world: World, engine: Engine, scenario: Scenario) -> None:
    for after_s, ask in scenario.asks:
        await asyncio.sleep(max(0, after_s - world.passed_s))
        with suppress(Conflict, NotFound):  # it was done, before the crash
            await ask(engine)


async def undisturbed(world: World, name: str, loaded: int) -> tuple[object, list[Database]]:
    async with world.engine(*FLOWS, keep_loaded=loaded) as engine:
        outcome = await play(world, engine, name)
        crashes = [db for db in world.every_crash() if knows(db, "f")]
        return outcome, crashes[::2]  # half a commit leaves what the one before it left


async def again(world: World, db: Database, name: str, keep_loaded: int) -> object:
    async with world.engine(*FLOWS, db=db, keep_loaded=keep_loaded) as engine:
        return await play(world, engine, name)


@pytest.mark.parametrize("keep_loaded", [0, 1000])
@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_commit_it_dies_at(tmp_path: Path, name: str, keep_loaded: int) -> None:
    world = World(tmp_path)
    outcome, crashes = world.run(undisturbed(world, name, keep_loaded))
    took = world.passed_s

    if SCENARIOS[name].value is not None:
        assert outcome == SCENARIOS[name].value
    assert len(crashes) >= 3
    check_tables(world.db)
    replay_all(world.db)
    for db in crashes:
        check_tables(db)
        world.passed_s = ended_at(db)
        assert world.run(again(world, db, name, keep_loaded)) == outcome, db
        assert world.passed_s < took + 30, db
        check_tables(db)
        replay_all(db)
