"""Code that fits its log, code that does not, and what replay may and may not do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from obelisk_ops import (
    Nondeterminism,
    activity,
    execution_id,
    join_set,
    now,
    random,
    sleep,
    uuid4,
    workflow,
)
from obelisk_ops.core.ports import State
from obelisk_ops.durable.flow.functions import Workflow
from tests.databases import Database
from tests.engines import kinds, read_log
from tests.world import World, check_tables, knows, story, unordered

Code = Callable[[], Coroutine[Any, Any, Any]]


@activity
async def act(value: int = 0) -> int:
    return value


@activity
async def other(value: int = 0) -> int:
    return value


@workflow
async def child(value: int = 0) -> int:
    return await act(value)


def flow_of(code: Code) -> Workflow[[], Any]:
    """Return the workflow `flow` with this code, as a deployment brings it."""
    return workflow(name="flow")(code)


async def original() -> int:
    total = await act(1)
    async with join_set("pair") as pair:
        pair.submit(act, 2)
        pair.submit(child, 3)
        async for answer in pair:
            total += answer
    await sleep(3600)
    return total + await act(4)


async def one_inserted() -> None:
    await other(0)
    await original()


async def one_removed() -> None:
    async with join_set("pair") as pair:
        pair.submit(act, 2)
        pair.submit(child, 3)


async def another_function() -> None:
    await other(1)
    await original()


async def other_arguments() -> None:
    await act(10)


async def another_order() -> None:
    await act(1)
    async with join_set("pair") as pair:
        pair.submit(child, 3)
        pair.submit(act, 2)


async def another_set() -> None:
    await act(1)
    async with join_set("couple") as pair:
        pair.submit(act, 2)


async def an_early_end() -> int:
    return await act(1)


CHANGES: list[tuple[Code, int, str, str]] = [
    (one_inserted, 1, r"act\(1\)", r"other\(0\)"),
    (one_removed, 1, r"act\(1\)", r"act\(2\)"),
    (another_function, 1, r"act\(1\)", r"other\(1\)"),
    (other_arguments, 1, r"act\(1\)", r"act\(10\)"),
    (another_order, 3, r"act\(2\)", r"child\(3\)"),
    (another_set, 3, r"act\(2\)", r"act\(2\)"),
    (an_early_end, 3, r"act\(2\)", "the end of the workflow"),
]


@pytest.mark.behaviour("O39", "O40", "O43", "P14")
@pytest.mark.parametrize(
    ("changed", "version", "recorded", "asked"), CHANGES, ids=[c[0].__name__ for c in CHANGES]
)
def test_p13_changed_code_parks_and_mended_code_goes_on(
    world: World, changed: Code, version: int, recorded: str, asked: str
) -> None:
    """The error names the version, the call on record and the one asked for; nothing else."""

    async def begin() -> None:
        async with world.engine(child) as engine:
            await engine.submit(flow_of(original), id="f")
            await asyncio.sleep(1)

    async def deploy() -> None:
        async with world.engine(child, flow_of(changed)) as engine:
            handle = engine.handle("f")
            with pytest.raises(
                Nondeterminism, match=f"(?s)version {version} .*{recorded}.*{asked}"
            ):
                await handle.result()
            assert handle.status().state is State.PARKED

    world.run(begin())
    before = story(world.db)["f"]
    world.run(deploy())
    assert [entry for entry in story(world.db)["f"] if entry[0] != "parked"] == before
    assert world.finish(world.db, child, flow_of(original)) == 10
    assert kinds(read_log(world.db, "f")).count("parked") == 1
    check_tables(world.db)


def test_o44_a_replay_writes_nothing(world: World) -> None:
    """An engine that takes up what waits, and is left again, has left the log as it was."""

    async def begin() -> None:
        async with world.engine(child) as engine:
            await engine.submit(flow_of(original), id="f")
            await asyncio.sleep(1)

    async def look() -> None:
        async with world.engine(child, flow_of(original)) as engine:
            assert engine.handle("f").status().state is State.BLOCKED
            await asyncio.sleep(1)

    world.run(begin())
    before = story(world.db, without=())
    for _ in range(3):
        world.run(look())
        assert story(world.db, without=()) == before


def test_o45_stopped_after_every_step_it_ends_as_a_free_run(world: World) -> None:
    """An engine that dies as soon as it has got any further gets there, with the same log."""

    async def free() -> None:
        async with world.engine(child) as engine:
            await (await engine.submit(flow_of(original), id="f")).result()

    async def lives(db: Database, known: int) -> Database:
        async with world.engine(child, db=db) as engine:
            await (await engine.submit(flow_of(original), id="f")).result()
            return next(world.every_crash(db, such=lambda cut: progress(cut) > known))

    world.run(free())
    wanted = story(world.db)
    steps, db = 0, world.another("steps")
    while not ended(db):
        steps, known = steps + 1, progress(db)
        db = world.run(lives(db, known))
    assert unordered(story(db)) == unordered(wanted)
    assert steps >= 5


def progress(db: Database) -> int:
    return sum(map(len, story(db).values())) if knows(db, "f") else 0


def ended(db: Database) -> bool:
    return knows(db, "f") and story(db)["f"][-1][0] == "finished"


@pytest.mark.behaviour("P18")
def test_o47_the_same_id_draws_the_same_everywhere(world: World) -> None:
    """Two machines, one id: the same numbers, UUIDs and choices; and they are pinned."""

    @workflow
    async def draws() -> list[Any]:
        first = [random().randint(0, 999), random().random(), str(uuid4())]
        await sleep(1)
        return [*first, random().choice("abcdef"), execution_id(), (now()).year]

    async def on(db: Database) -> list[Any]:
        async with world.engine(db=db) as engine:
            return await (await engine.submit(draws, id="pinned")).result()

    one, two = (world.run(on(world.another(name))) for name in ("one", "two"))

    assert one == two
    assert one == PINNED


PINNED: list[Any] = [
    492, 0.20740736506472002, "f5cfaa9a-09a7-46a7-b144-1f45c0fd3fd9", "c", "pinned", 2026,
]  # fmt: skip


@pytest.mark.slow_on_a_server
def test_p10_ten_thousand_steps_are_replayed_in_bounded_time(world: World) -> None:
    """A history of ten thousand steps is taken up again within seconds."""

    @workflow
    async def long() -> int:
        total = 0
        for block in range(100):
            async with join_set() as calls:
                for n in range(100):
                    calls.submit(act, 100 * block + n)
                total += sum([n async for n in calls])
        await sleep(3600)
        return total

    async def begin() -> None:
        async with world.engine() as engine:
            await engine.submit(long, id="f")
            await asyncio.sleep(1)

    world.run(begin())
    began = time.process_time()
    assert world.finish(world.db, long) == sum(range(10_000))
    assert time.process_time() - began < 10


@pytest.mark.behaviour("P36")
def test_o17_answers_come_in_the_order_of_their_ends_also_on_replay(world: World) -> None:
    """Children that end B, A are told B, A; after a crash too, though A could be faster now."""
    seen: list[list[str]] = []
    speeds = {"A": 20.0, "B": 10.0}

    @activity
    async def slow(name: str) -> str:
        await asyncio.sleep(speeds[name])
        return name

    @workflow
    async def runner(name: str) -> str:
        return await slow(name)

    @workflow
    async def race() -> str:
        async with join_set("race") as runners:
            for name in speeds:
                runners.submit(runner, name)
            seen.append([name async for name in runners])
        await sleep(100)
        return ",".join(seen[-1])

    async def main() -> Database:
        async with world.engine(runner) as engine:
            await engine.submit(race, id="f")
            await asyncio.sleep(50)
            return world.crash()

    left = world.run(main())
    speeds["A"] = 0

    assert world.finish(left, race, runner) == "B,A"
    assert seen == [["B", "A"]] * 2


def test_p17_what_has_no_recorded_order_is_refused(world: World) -> None:
    """asyncio's ways to wait for several things are one named error, that says what to use."""

    async def as_completed() -> None:
        for done in asyncio.as_completed([asyncio.sleep(1)]):
            await done

    async def wait() -> None:
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(1))])

    async def queue() -> None:
        await asyncio.Queue[int]().get()

    async def main() -> list[str]:
        said = []
        async with world.engine() as engine:
            for number, code in enumerate((as_completed, wait, queue)):
                handle = await engine.submit(workflow(name=f"w{number}")(code))
                with pytest.raises(Exception) as caught:  # noqa: PT011 - compared below
                    await handle.result()
                said.append(f"{caught.value} {getattr(caught.value, 'hint', '')}")
        return said

    said = world.run(main())
    assert all("WorkflowMisuse" in text for text in said), said
