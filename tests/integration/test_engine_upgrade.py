"""New code for what is in flight: it is replayed first, and goes on where it fits."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    Engine,
    ExecutionFailed,
    Nondeterminism,
    activity,
    patched,
    sleep,
    workflow,
)
from obelisk_ops.core.events import Created, Event
from obelisk_ops.durable.flow.digests import digest_on_record
from obelisk_ops.durable.flow.functions import Workflow
from tests.databases import Database
from tests.engines import bodies, kinds, read_log, until
from tests.world import World, check_tables


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@activity
async def act(n: int = 0) -> int:
    return n


@workflow
async def child() -> int:
    return await act(7)


async def first_code() -> str:
    await act(1)
    await sleep(60)
    return "first"


async def second_code() -> str:
    await act(1)
    await sleep(60)
    return f"second {await act(2)}"


async def unfit_code() -> str:
    await act(9)
    return "unfit"


async def patched_code() -> list[str]:
    seen = ["taxed" if patched("tax") else "free"]
    await act(1)
    await sleep(60)
    seen.append("taxed" if patched("tax") else "free")
    seen.append("paid" if patched("pay") else "owed")
    if patched("pay"):
        await act(3)
    return seen


class Flow:
    """One workflow, as deployments bring it; not in the module, which has one of a name."""

    FIRST: Workflow[[], str] = workflow(name="flow")(first_code)
    SECOND: Workflow[[], str] = workflow(name="flow")(second_code)
    UNFIT: Workflow[[], str] = workflow(name="flow")(unfit_code)
    PATCHED: Workflow[[], list[str]] = workflow(name="flow")(patched_code)


def begun(world: World, flow: Workflow[..., Any] = Flow.FIRST) -> Database:
    """Return a database in which an execution sleeps."""

    async def main() -> Database:
        async with world.engine(flow) as engine:
            await engine.submit(flow, id="f")
            await until(lambda: "timer_set" in kinds(read_log(world.db, "f")), "the sleep")
            return world.crash()

    return world.run(main())


async def load(world: World, db: Database, flow: Workflow[..., Any]) -> None:
    """Serve an execution as long as it takes to replay it."""
    async with world.engine(flow, db=db):
        await asyncio.sleep(0.01)


def test_the_digest_of_the_code_is_on_record(world: World) -> None:
    @workflow
    async def parent() -> int:
        return await child()

    async def main() -> int:
        async with world.engine(parent, child) as engine:
            return int(await (await engine.submit(parent, id="f")).result())

    assert world.run(main()) == 7
    assert bodies(read_log(world.db, "f"), "created")[0]["digest"] == parent.digest
    assert bodies(read_log(world.db, "f/1"), "created")[0]["digest"] == child.digest


@pytest.mark.behaviour("O42")
def test_new_code_that_fits_is_noted_once_and_goes_on(world: World) -> None:
    db = begun(world)

    for _ in range(2):
        world.run(load(world, db, Flow.SECOND))

    assert kinds(read_log(db, "f"))[-2:] == ["timer_set", "upgraded"]
    assert world.finish(db, Flow.SECOND) == "second 2"
    upgrades = bodies(read_log(db, "f"), "upgraded")
    assert upgrades == [{"digest": Flow.SECOND.digest}]
    check_tables(db)


def test_the_same_code_is_not_noted(world: World) -> None:
    db = begun(world)

    assert world.finish(db, Flow.FIRST) == "first"
    assert "upgraded" not in kinds(read_log(db, "f"))


@pytest.mark.behaviour("O42")
def test_new_code_that_does_not_fit_changes_nothing_and_other_code_may_try(
    world: World,
) -> None:
    db = begun(world)
    before = read_log(db, "f")

    for _ in range(2):
        with pytest.raises(Nondeterminism, match=r"version 1 .*act\(1\).*act\(9\)"):
            world.finish(db, Flow.UNFIT)

    after = read_log(db, "f")
    assert after[: len(before)] == before
    assert kinds(after[len(before) :]) == ["parked"]
    assert world.finish(db, Flow.SECOND) == "second 2"
    assert kinds(read_log(db, "f"))[len(before) :][:3] == ["parked", "resumed", "upgraded"]


def test_going_back_is_noted_too(world: World) -> None:
    db = begun(world)

    world.run(load(world, db, Flow.SECOND))
    world.run(load(world, db, Flow.FIRST))

    found = [body["digest"] for body in bodies(read_log(db, "f"), "upgraded")]
    assert found == [Flow.SECOND.digest, Flow.FIRST.digest]


@pytest.mark.parametrize(
    ("kinds_and_bodies", "known"),
    [
        ([], "old"),
        ([("upgraded", '{"digest":"new"}')], "new"),
        ([("upgraded", '{"digest":"a"}'), ("upgraded", '{"digest":"b"}')], "b"),
    ],
)
def test_the_last_digest_on_record_counts(
    kinds_and_bodies: list[tuple[str, str]], known: str
) -> None:
    log = [Event(i, 0, kind, body) for i, (kind, body) in enumerate(kinds_and_bodies)]

    assert digest_on_record(Created(fn="f", input=b"[]", digest="old"), log) == known  # type: ignore[arg-type]


# -- patched ------------------------------------------------------------------------------


def test_a_patch_parts_those_that_were_past_it_from_those_that_were_not(world: World) -> None:
    db = begun(world)

    async def main() -> Any:
        async with world.engine(Flow.PATCHED, db=db) as engine:
            fresh = await engine.submit(Flow.PATCHED, id="g")
            return await engine.handle("f").result(), await fresh.result()

    old, new = world.run(main())

    # The old one was past the first place; for it the answer stays what it was.
    assert old == ["free", "free", "paid"]
    assert new == ["taxed", "taxed", "paid"]
    assert [body["name"] for body in bodies(read_log(db, "f"), "patched")] == ["pay"]
    assert [body["name"] for body in bodies(read_log(db, "g"), "patched")] == ["tax", "pay"]
    assert world.finish(db, Flow.PATCHED, name="g") == new


def test_a_patch_is_the_same_after_every_crash(world: World) -> None:
    async def main() -> tuple[Any, list[Database]]:
        async with world.engine(Flow.PATCHED) as engine:
            value = await (await engine.submit(Flow.PATCHED, id="f")).result()
            return value, list(world.every_crash())

    value, copies = world.run(main())

    known = [copy for copy in copies if world.run(knows_f(world, copy))]
    assert len(known) > 5
    assert [world.finish(copy, Flow.PATCHED) for copy in known] == [value] * len(known)


async def knows_f(world: World, db: Database) -> bool:
    async with world.engine(Flow.PATCHED, db=db) as engine:
        return bool(engine.list())


def test_a_patch_that_is_taken_out_too_soon_is_told(world: World) -> None:
    db = begun(world, Flow.PATCHED)

    with pytest.raises(Nondeterminism, match=r"the mark of patched\('tax'\).*act\(1\)"):
        world.finish(db, Flow.FIRST)


# -- strict -------------------------------------------------------------------------------


@workflow(name="clocked")
async def clocked() -> bool:
    return time.time() > 0


def result_of(database: Database, flow: Workflow[..., Any], **options: Any) -> Any:
    async def main() -> Any:
        async with Engine(database, workflows=[flow], **options) as engine:
            return await (await engine.submit(flow, id="f")).result()

    return asyncio.run(main())


@pytest.mark.behaviour("P19")
@pytest.mark.parametrize("strict", [None, True])
def test_a_clock_in_a_workflow_fails_it_in_a_test(world: World, strict: bool | None) -> None:  # noqa: FBT001
    with pytest.raises(ExecutionFailed, match=r"time\.time\(\) cannot be used .* use now\(\)"):
        result_of(world.db, clocked, strict=strict)


def test_not_in_an_engine_that_is_not_strict(world: World) -> None:
    assert result_of(world.db, clocked, strict=False) is True


class OwnClock:
    """A clock of the author's; the engine reads it for a workflow that makes a child."""

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def elapsed_ms(self) -> int:
        return int(time.monotonic() * 1000)


def test_the_engine_may_read_its_clock_for_a_workflow(world: World) -> None:
    @workflow
    async def parent() -> int:
        return await child()

    assert result_of(world.db, parent, clock=OwnClock(), strict=True) == 7
