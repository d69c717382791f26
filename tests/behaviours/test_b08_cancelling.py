"""Cancelling and time limits: recorded, raised once, cleaned up after, never outlived."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from obelisk_ops import (
    Cancelled,
    ExecutionCancelled,
    Handle,
    Retry,
    Signal,
    activity,
    join_set,
    saga,
    sleep,
    workflow,
)
from obelisk_ops.core.ports import Result, State
from obelisk_ops.errors import ExecutionEnded, NotCancellable
from tests.databases import Database
from tests.engines import kinds, read_log
from tests.world import World, check_tables, knows, story

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

go = Signal("go", int)
did: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    did.clear()


@activity
async def note(what: str) -> None:
    did[what] += 1


@activity
async def long() -> None:
    did["long started"] += 1
    try:
        await asyncio.sleep(3600)
    finally:
        did["long ended"] += 1


@activity(retry=Retry(max_attempts=9, initial=timedelta(hours=1), maximum=timedelta(hours=1)))
async def broken() -> None:
    raise ConnectionError


@workflow
async def short_child() -> None:
    await sleep(50)
    await note("child ended")


@workflow(cancellable=True)
async def patient_child() -> None:
    try:
        await sleep(3600)
    finally:
        await note("child cleaned up")


async def sleeping() -> None:
    await sleep(3600)


async def waiting() -> None:
    await go.receive()


async def in_an_activity() -> None:
    await long()


async def in_a_backoff() -> None:
    await broken()


async def in_a_child() -> None:
    await short_child()


async def in_a_cancellable_child() -> None:
    await patient_child()


async def in_a_set() -> None:
    async with join_set() as calls:
        calls.submit(long)
        calls.submit(patient_child)
        calls.submit_delay(3600)
        await calls.next()


WHERE: list[Callable[[], Coroutine[Any, Any, None]]] = [
    sleeping, waiting, in_an_activity, in_a_backoff, in_a_child, in_a_cancellable_child,
    in_a_set,
]  # fmt: skip
children = (short_child, patient_child)


def cleaning_up(where: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """Return a workflow that waits somewhere, and cleans up with an activity."""

    @workflow(name="cleaning")
    async def flow() -> None:
        try:
            await where()
        except Exception:  # noqa: BLE001 - which must not swallow a cancel
            await note("swallowed")
        finally:
            await note("cleaned up")

    return flow


async def is_cancelled(handle: Handle[Any]) -> None:
    with pytest.raises(ExecutionCancelled) as caught:
        await handle.result()
    assert caught.value.exit_status == 13
    assert (handle.status().state, handle.status().result) == (State.FINISHED, Result.CANCELLED)


@pytest.mark.behaviour("P42", "P43")
@pytest.mark.parametrize("where", WHERE)
def test_o28_a_cancel_is_raised_once_wherever_it_waits(world: World, where: Any) -> None:
    """The clean-up runs once, the second cancel changes nothing, and the end is cancelled."""

    async def main() -> None:
        async with world.engine(*children) as engine:
            handle = await engine.submit(cleaning_up(where), id="f")
            await asyncio.sleep(1)
            assert await handle.cancel() is True
            assert await handle.cancel() is False
            await is_cancelled(handle)
            with pytest.raises(ExecutionEnded):
                await handle.cancel()

    world.run(main())

    assert did["cleaned up"] == 1
    assert did["swallowed"] == 0
    assert did["long started"] == did["long ended"]
    assert kinds(read_log(world.db, "f")).count("cancel_requested") == 1
    assert world.passed_s < 60
    for name, log in story(world.db).items():
        assert log[-1][0] == "finished", name
    check_tables(world.db)


@pytest.mark.behaviour("P43")
@pytest.mark.parametrize("where", WHERE)
def test_o28_a_crash_while_cancelling_cleans_up_once_in_the_log(
    world: World, where: Any
) -> None:
    """Killed at any moment of a cancelling, the next engine brings it to the same end."""

    async def main() -> list[Database]:
        async with world.engine(*children) as engine:
            handle = await engine.submit(cleaning_up(where), id="f")
            await asyncio.sleep(1)
            await handle.cancel()
            await is_cancelled(handle)
            return [db for db in world.every_crash() if knows(db, "f")]

    async def go_on(db: Database) -> None:
        async with world.engine(cleaning_up(where), *children, db=db) as engine:
            handle = engine.handle("f")
            if handle.status().state is not State.FINISHED:
                await handle.cancel()
            await is_cancelled(handle)

    for db in world.run(main())[::2]:
        world.run(go_on(db))
        log = read_log(db, "f")
        assert kinds(log).count("cancel_requested") == 1
        assert [event.kind for event in log if '"cleaned up"' in event.body] == ["intended"]
        check_tables(db)


def test_o30_what_has_ended_or_may_not_be_cancelled_says_so(world: World) -> None:
    """A workflow that says so ends by itself; both are conflicts."""

    @workflow(cancellable=False)
    async def stubborn() -> str:
        await sleep(60)
        return "done"

    async def main() -> str:
        async with world.engine() as engine:
            handle = await engine.submit(stubborn, id="f")
            with pytest.raises(NotCancellable) as caught:
                await handle.cancel()
            assert caught.value.exit_status == 8
            value = await handle.result()
            with pytest.raises(ExecutionEnded):
                await handle.cancel()
            return value

    assert world.run(main()) == "done"


def test_p43_code_that_catches_a_cancel_goes_on(world: World) -> None:
    """Caught by name it is over; what the code returns then is the result."""

    @workflow
    async def survives() -> str:
        try:
            await sleep(3600)
        except Cancelled:
            await sleep(5)
        return "went on"

    async def main() -> tuple[str, int]:
        async with world.engine() as engine:
            handle = await engine.submit(survives, id="f")
            await asyncio.sleep(1)
            await handle.cancel()
            return await handle.result(), 1

    assert world.run(main()) == ("went on", 1)


@pytest.mark.parametrize("moment", ["before the last step", "in it", "after it"])
def test_p44_a_cancel_at_the_end_has_one_outcome(world: World, moment: str) -> None:
    """Either it was finished first, and the cancel is refused, or it is cancelled."""

    @workflow
    async def flow() -> str:
        await sleep(1)
        await note("last step")
        return "done"

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep({"before the last step": 0.5, "in it": 1}.get(moment, 1.5))
            try:
                await handle.cancel()
            except ExecutionEnded:
                assert await handle.result() == "done"
            else:
                with pytest.raises(ExecutionCancelled):
                    await handle.result()

    world.run(main())

    assert kinds(read_log(world.db, "f")).count("finished") == 1
    check_tables(world.db)


@workflow(cancellable=True)
async def leaf(n: int) -> None:
    try:
        await sleep(3600)
    finally:
        await note(f"leaf {n}")


@workflow(cancellable=True)
async def branch(n: int) -> None:
    async with join_set() as leaves:
        for m in range(3):
            leaves.submit(leaf, 10 * n + m)
        async for _ in leaves:
            pass


@workflow
async def tree() -> None:
    async with join_set() as branches:
        for n in range(3):
            branches.submit(branch, n)
        async for _ in branches:
            pass


def test_p41_a_cancel_at_the_top_reaches_three_generations(world: World) -> None:
    """Cancellable descendants clean up, each once, and all have ended before the top has."""

    async def main() -> None:
        async with world.engine(branch, leaf) as engine:
            handle = await engine.submit(tree, id="f")
            await asyncio.sleep(1)
            await handle.cancel()
            await is_cancelled(handle)
            rows = {row.id: row for row in engine.list()}
            assert {row.result for row in rows.values()} == {Result.CANCELLED}
            assert len(rows) == 13

    world.run(main())

    assert did == Counter({f"leaf {10 * n + m}": 1 for n in range(3) for m in range(3)})
    assert world.passed_s < 10
    check_tables(world.db)


def test_o29_an_activity_of_a_cancelled_execution_is_told_at_once(world: World) -> None:
    """It is interrupted where it awaits, and not when its time would be over."""

    async def main() -> float:
        async with world.engine() as engine:
            handle = await engine.submit(cleaning_up(in_an_activity), id="f")
            await asyncio.sleep(1)
            await handle.cancel()
            await is_cancelled(handle)
            return world.passed_s

    assert world.run(main()) < 2
    assert did["long ended"] == 1


def test_o28_a_saga_undoes_what_was_done_in_reverse(world: World) -> None:
    """Cancelled in the middle, the compensations run once each, the last first."""
    undone: list[str] = []

    @activity
    async def undo(what: str) -> None:
        undone.append(what)

    @workflow
    async def books() -> None:
        async with saga() as trip:
            for what in ("flight", "hotel", "car"):
                await note(what)
                trip.add(undo, what)
            await sleep(3600)

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(books, id="f")
            await asyncio.sleep(1)
            await handle.cancel()
            await is_cancelled(handle)

    world.run(main())

    assert undone == ["car", "hotel", "flight"]
