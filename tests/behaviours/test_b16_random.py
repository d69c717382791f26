"""
Random programs, asked for random things, killed at random moments.

A program is data, and one workflow does what it says with everything that workflows can do.
Meanwhile it is paused, signalled, cancelled and answered, and its process dies. Whatever
comes of it: it ends, its code fits its log, and the tables are those that the logs tell of.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    Engine,
    Handle,
    Queue,
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
from obelisk_ops.core.ports import ExecutionFilter, State, StateRow
from obelisk_ops.errors import Conflict, NotFound, OutcomeUnknown
from obelisk_ops.storage import open_reader
from tests.databases import Database, Databases
from tests.engines import bodies
from tests.world import World, check_tables

Program = list[list[Any]]

number = Signal("number", int)


@activity(retry=Retry(max_attempts=2, initial=timedelta(seconds=3), jitter=0))
async def works(seconds: float, failures: int) -> int:
    await asyncio.sleep(seconds)
    if activity.attempt() <= failures:
        raise LookupError("as planned")
    return 1


@activity(queue="narrow", at_most_once=True)
async def pays(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return 1


@stub
def asks() -> int:
    """Somebody answers, or nobody."""
    raise NotImplementedError


async def worked(seconds: float, failures: int) -> int:
    return await works(seconds, failures)


async def in_a_child(program: Program) -> int:
    total: int = await child(program)
    return total


async def in_a_cancellable_child(program: Program) -> int:
    total: int = await cancellable_child(program)
    return total


async def paid(seconds: float) -> int:
    try:
        return await pays(seconds)
    except OutcomeUnknown:
        return 0


async def within(seconds: float, program: Program) -> int:
    try:
        async with timeout(seconds):
            return await interpret(program)
    except TimeoutError:
        return 7


async def asked(seconds: float) -> int:
    try:
        async with timeout(seconds):
            return await asks()
    except TimeoutError:
        return 0


async def in_a_set(programs: list[Program], awaited: int, cancellable: bool) -> int:  # noqa: FBT001
    total = 0
    async with join_set() as calls:
        for program in programs:
            calls.submit(cancellable_child if cancellable else child, program)
        calls.submit(works, 5, 0)
        calls.submit_delay(2)
        for _ in range(awaited):
            total += await calls.next() or 0
        return total + (calls.try_next() or 0)


async def undone(program: Program) -> int:
    async with saga() as steps:
        steps.add(works, 1, 0)
        steps.add(works, 2, 0)
        return await interpret(program)


async def tried(program: Program) -> int:
    try:
        return await interpret(program)
    except LookupError:
        return 3
    finally:
        await works(1, 0)


async def received(seconds: float) -> int:
    return await number.receive(timeout=seconds) or 0


async def slept(seconds: float) -> int:
    await sleep(seconds)
    return 0


async def gathered(programs: list[Program], errors: bool) -> int:  # noqa: FBT001
    return len(await gather(*map(interpret, programs), return_exceptions=errors))


async def raced(programs: list[Program]) -> int:
    return (await first(*map(interpret, programs)))[0]


async def scheduled(seconds: float, program: Program) -> int:
    return len(await schedule(child, program, after=seconds))


DO: dict[str, Callable[..., Awaitable[int]]] = {
    "works": worked, "pays": paid, "asks": asked, "sleeps": slept,
    "receives": received, "gathers": gathered, "races": raced, "within": within,
    "set": in_a_set, "saga": undone, "tries": tried, "schedules": scheduled,
    "child": in_a_child, "cancellable": in_a_cancellable_child,
}  # fmt: skip


async def interpret(program: Program) -> int:
    return sum([await DO[what](*given) for what, *given in program])


@workflow
async def child(program: Program) -> int:
    return await interpret(program)


@workflow(cancellable=True, timeout=60)
async def cancellable_child(program: Program) -> int:
    try:
        return await interpret(program)
    finally:
        await works(1, 0)


@workflow(timeout=300)
async def top(program: Program, again: int) -> int:
    total = await interpret(program)
    return continue_as_new(program, again - 1) if again else total


#: what each is given
GIVEN: dict[str, tuple[str, ...]] = {
    "works": ("seconds", "few"), "pays": ("seconds",), "asks": ("seconds",),
    "sleeps": ("seconds",), "receives": ("seconds",), "gathers": ("programs", "flag"),
    "races": ("programs",), "within": ("seconds", "program"),
    "set": ("programs", "few", "flag"), "saga": ("program",), "tries": ("program",),
    "schedules": ("seconds", "program"), "child": ("program",), "cancellable": ("program",),
}  # fmt: skip


class Chance:
    """Draws programs, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def program(self, depth: int = 0) -> Program:
        names = list(DO) if depth < 3 else list(DO)[:5]
        return [
            self.instruction(self.draw.choice(names), depth + 1)
            for _ in range(self.draw.randint(1, 4 if depth == 0 else 3))
        ]

    def instruction(self, what: str, depth: int) -> list[Any]:
        return [what, *(self.given(kind, depth) for kind in GIVEN[what])]

    def given(self, kind: str, depth: int) -> Any:
        draw = self.draw
        match kind:
            case "program":
                return self.program(depth)
            case "programs":
                return [self.program(depth) for _ in range(draw.randint(1, 3))]
            case "seconds":
                return draw.choice([0, 1, 5, 10])
            case "few":
                return draw.choice([0, 0, 0, 1, 2])
            case _:
                return draw.random() < 0.5

    async def asks_for_something(self, engine: Engine, row: StateRow) -> None:
        handle: Handle[Any] = engine.handle(row.id)
        answers = [body["n"] for body in bodies(handle.events(), "stub_requested")]
        id_ = str(self.draw.randint(0, 5))
        wanted: list[Callable[[], Awaitable[object]]] = [
            handle.pause, handle.unpause, handle.unpause, handle.cancel,
            lambda: handle.signal(number, 1, id=id_), lambda: asyncio.sleep(3),
            *(lambda n=n: engine.stub(f"{row.id}/{n}", 1) for n in answers[-1:]),
        ]  # fmt: skip
        with suppress(Conflict, NotFound):
            await self.draw.choice(wanted)()


async def a_life(
    world: World, chance: Chance, db: Database, program: Program, *, last: bool
) -> Database:
    """Let it run for a while, and kill it; the *last* one is let run to the end."""
    queues = ("default", Queue("narrow", concurrency=1))
    async with world.engine(top, child, cancellable_child, db=db, queues=queues) as engine:
        for again in (0, 1):
            await engine.submit(top, program, again, id=f"e{again}")
        ends_at = world.passed_s + (5000 if last else chance.draw.random() * 40)
        while world.passed_s < ends_at:
            await asyncio.sleep(chance.draw.random() * 4)
            rows = engine.list(limit=10_000)
            assert [row.error for row in rows if row.state is State.PARKED] == []
            open_ones = [row for row in rows if row.state is not State.FINISHED]
            if not open_ones:
                break
            row = chance.draw.choice(open_ones)
            if not last:
                await chance.asks_for_something(engine, row)
            elif row.state is State.PAUSED:
                await engine.handle(row.id).unpause()
        return db if last else world.crash(db)


def check_the_end(db: Database) -> None:
    check_tables(db)
    with closing(open_reader(db)) as reader:
        rows = {row.key: row for row in reader.executions(ExecutionFilter(limit=10_000))}
    assert {row.state for row in rows.values()} == {State.FINISHED}
    expected = {"LookupError", "ExecutionCancelled", "ExecutionTimedOut"}
    for row in rows.values():
        error = (row.error or "LookupError").partition(":")[0]
        assert error.rpartition(".")[2] in expected, row
        if row.parent is not None:
            assert (rows[row.parent].finished_at or 0) >= (row.finished_at or 0), row


def run_one(databases: Databases, folder: Path, seed: int) -> None:
    print(f"OBELISK_OPS_TEST_SEED={seed}")  # noqa: T201 - to repeat a failure
    chance = Chance(seed)
    world = World(folder, databases, keep_loaded=chance.draw.choice([0, 0, 2, 1000]))
    program, db = chance.program(), world.db
    for _ in range(chance.draw.randint(1, 4)):
        db = world.run(a_life(world, chance, db, program, last=False))
        world.passed_s += chance.draw.choice([0, 0, 100]) * chance.draw.random()
    check_the_end(world.run(a_life(world, chance, db, program, last=True)))


def seeds(count: int) -> list[int]:
    given = os.environ.get("OBELISK_OPS_TEST_SEED")
    return [int(given)] if given else list(range(count))


@pytest.mark.behaviour("P12")
@pytest.mark.parametrize("seed", seeds(12))
def test_o61_whatever_is_asked_and_whenever_it_dies_it_ends_well(
    databases: Databases, tmp_path: Path, seed: int
) -> None:
    """A few fixed seeds; the count of a long run is drawn anew each time."""
    run_one(databases, tmp_path, seed)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_o61_whatever_is_asked_three_hundred_times(
    databases: Databases, tmp_path: Path
) -> None:
    """The same with seeds that nobody has chosen."""
    draw = random.SystemRandom()
    for n in range(300):
        folder = tmp_path / str(n)
        folder.mkdir()
        run_one(databases, folder, draw.randrange(2**32))
