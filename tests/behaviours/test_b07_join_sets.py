"""Several things at the same time: who is answered when, and what closing does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from obelisk_ops import (
    ExecutionFailed,
    WorkflowMisuse,
    activity,
    execution_id,
    first,
    gather,
    join_set,
    sleep,
    workflow,
)
from obelisk_ops.core.fold import fold
from tests.databases import Database
from tests.engines import NEVER, bodies, kinds, read_log
from tests.world import World, check_tables, story

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

speeds: dict[str, float] = {}


@activity
async def takes(name: str, seconds: float) -> str:
    await asyncio.sleep(speeds.get(name, seconds))
    return name


@activity(retry=NEVER)
async def fails(text: str) -> None:
    raise LookupError(text)


@workflow
async def child(name: str, seconds: float) -> str:
    return await takes(name, seconds)


@workflow(cancellable=True)
async def cancellable(name: str, seconds: float) -> str:
    await sleep(seconds)
    return name


@pytest.fixture(autouse=True)
def _usual_speeds() -> None:
    speeds.clear()


async def result(world: World, flow: Any, *args: Any) -> Any:
    async with world.engine(child, cancellable) as engine:
        return await (await engine.submit(flow, *args, id="f")).result()


async def crashed_at(world: World, seconds: float, flow: Any) -> Database:
    async with world.engine(child, cancellable) as engine:
        await engine.submit(flow, id="f")
        await asyncio.sleep(seconds)
        return world.crash()


def test_o18_what_was_found_without_waiting_is_consumed(world: World) -> None:
    """After try_next has found one, next waits for the other, and does not spin."""
    seen: list[list[Any]] = []

    @workflow
    async def flow() -> list[Any]:
        async with join_set("pair") as pair:
            pair.submit(takes, "quick", 1)
            pair.submit(takes, "slow", 100)
            found = [pair.try_next("nothing")]
            await sleep(10)
            found += [pair.try_next("nothing"), pair.try_next("nothing")]
            found += [await pair.next(), pair.try_next("nothing")]
        seen.append(found)
        await sleep(10)
        return found

    left = world.run(crashed_at(world, 105, flow))

    assert world.finish(left, flow) == ["nothing", "quick", "nothing", "slow", "nothing"]
    assert seen[0] == seen[1]
    assert len(read_log(left, "f")) < 15


@pytest.mark.parametrize("how", ["next", "try_next", "async for"])
def test_o19_a_set_without_members_says_so(world: World, how: str) -> None:
    """However its members were consumed, one more wait is a named error; on replay too."""
    seen: list[str] = []

    @workflow
    async def flow() -> str:
        async with join_set("one") as one:
            one.submit(takes, "only", 1)
            if how == "try_next":
                await sleep(5)
                one.try_next()
            elif how == "next":
                await one.next()
            else:
                assert [name async for name in one] == ["only"]
            try:
                await one.next()
            except WorkflowMisuse as error:
                seen.append(error.message)
        await sleep(10)
        return "went on"

    left = world.run(crashed_at(world, 8, flow))

    assert world.finish(left, flow) == "went on"
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert "no member left" in seen[0]


def test_o21_an_answer_that_comes_as_one_begins_to_wait_is_not_missed(world: World) -> None:
    """Members end at the very moment at which the code turns to them, in every order."""

    @workflow
    async def flow(offset_ms: int) -> list[str]:
        async with join_set() as calls:
            calls.submit(takes, "a", 1.0)
            calls.submit(child, "b", 1.0)
            await sleep((1000 + offset_ms) / 1000)
            return sorted([await calls.next(), await calls.next()])

    async def main() -> list[Any]:
        async with world.engine(child) as engine:
            handles = [await engine.submit(flow, offset) for offset in range(-3, 4)]
            return await asyncio.gather(*(handle.result() for handle in handles))

    assert world.run(main()) == [["a", "b"]] * 7
    check_tables(world.db)


def test_o23_a_timer_that_fired_or_was_cancelled_is_left_alone(world: World) -> None:
    """Leaving a set cancels only what is open, once."""

    @workflow
    async def flow() -> str:
        async with join_set("outer") as outer:
            outer.submit_delay(1)
            outer.submit_delay(1000)
            await sleep(10)
        return "left"

    assert world.run(result(world, flow)) == "left"
    calls = fold(read_log(world.db, "f")).calls
    assert [calls[n].outcome for n in (1, 2, 3)] == ["ok", "cancelled", "ok"]
    assert [body["n"] for body in bodies(read_log(world.db, "f"), "cancelled")] == [2]
    check_tables(world.db)


def test_o25_names_of_sets_are_taken_once(world: World) -> None:
    """A name that is taken is an error; generated names, and those of gather, never clash."""

    @workflow
    async def flow() -> str:
        async with join_set("one"), join_set(), join_set():
            await gather(takes("a", 1), takes("b", 1))
            await gather(takes("a", 1), first(takes("b", 1), takes("c", 2)))
            try:
                async with join_set("one"):
                    pass
            except WorkflowMisuse as error:
                return error.message
        return ""

    assert "already has a join set 'one'" in world.run(result(world, flow))


async def leaves(how: str) -> str:
    async with join_set("members") as members:
        members.submit(takes, "a", 1000)
        members.submit(child, "slow child", 50)
        members.submit_delay(1000)
        members.submit(cancellable, "cancellable child", 1000)
        members.submit(takes, "b", 1000)
        await sleep(1)
        if how == "raises":
            raise LookupError(how)
        if how == "returns":
            return "left"
    return "left"


@pytest.mark.behaviour("O27", "P37")
@pytest.mark.parametrize("how", ["returns", "raises", "falls out"])
def test_o26_leaving_closes_what_is_open_and_the_end_comes_last(world: World, how: str) -> None:
    """
    However a set is left: cancelled in reverse order, children awaited, then the end.

    Children that say they are cancellable are cancelled, the others end by themselves.
    """
    flow = workflow(name="leaves")(leaves)

    async def main() -> str:
        try:
            return str(await result(world, flow, how))
        except ExecutionFailed as error:
            return error.error_type

    assert world.run(main()) == ("LookupError" if how == "raises" else "left")
    log = read_log(world.db, "f")
    order = [
        (event.kind, body["n"])
        for event in log
        for body in bodies([event], event.kind)
        if event.kind in ("cancelled", "child_cancel")
    ]
    assert order == [("cancelled", 5), ("child_cancel", 4), ("cancelled", 3), ("cancelled", 1)]
    assert kinds(log)[-1] == "finished"
    logs = story(world.db)
    assert logs["f/2"][-1][1] == {"ok": "slow child"}
    assert logs["f/4"][-1][1]["result"] == "cancelled"
    assert 50 <= world.passed_s < 52
    check_tables(world.db)


def test_p15_gather_answers_in_the_order_of_its_arguments(world: World) -> None:
    """Whoever ends first; with errors among the values, or the first error raised."""
    seen: list[Any] = []

    @workflow
    async def flow() -> str:
        seen.append(await gather(takes("a", 30), takes("b", 10), child("c", 20)))
        seen.append(await gather())
        mixed = await gather(takes("a", 1), fails("no"), return_exceptions=True)
        seen.append([str(value) for value in mixed])
        try:
            await gather(takes("late", 10_000), fails("now"))
        except LookupError as error:
            seen.append(str(error))
        await sleep(10)
        return "done"

    left = world.run(crashed_at(world, 35, flow))
    half, seen[:] = list(seen), []

    assert half == [["a", "b", "c"], [], ["a", "no"], "now"]
    assert world.finish(left, flow, child) == "done"
    assert seen == half
    assert world.passed_s < 100


def test_p16_a_race_keeps_its_winner(world: World) -> None:
    """Replayed with the loser faster than the winner, the recorded winner wins."""
    seen: list[Any] = []

    async def plain(name: str) -> str:
        return f"plain {await takes(name, 20)}"

    @workflow
    async def flow() -> list[Any]:
        winners = [
            await first(takes("hare", 5), child("tortoise", 50)),
            await first(takes("slow", 100), plain("coroutine")),
        ]
        seen.append(winners)
        await sleep(100)
        return [list(winner) for winner in winners]

    left = world.run(crashed_at(world, 90, flow))
    speeds.update(tortoise=0, hare=90, slow=0)

    value = world.finish(left, flow, child)
    assert value == [[0, "hare"], [1, "plain coroutine"]]
    assert seen[0] == seen[1]
    check_tables(left)


def test_p39_an_error_keeps_its_class_through_the_family(world: World) -> None:
    """From an activity of a grandchild to a handler at the top; also when nobody looked."""

    @workflow
    async def grandchild() -> None:
        await fails("deep")

    @workflow
    async def middle() -> None:
        await grandchild()

    @workflow
    async def top() -> str:
        try:
            await middle()
        except LookupError as error:
            return f"caught {error}"
        return ""

    @workflow
    async def looks_away() -> str:
        async with join_set() as calls:
            calls.submit(middle)
            await sleep(10)
        return "nobody looked"

    async def main() -> str:
        async with world.engine(grandchild, middle) as engine:
            caught = await (await engine.submit(top)).result()
            with pytest.raises(ExecutionFailed, match="LookupError: deep"):
                await (await engine.submit(looks_away)).result()
            return caught

    assert world.run(main()) == "caught deep"


def test_o17_three_generations_end_in_their_order(world: World) -> None:
    """Nested sets of children, each answered in the order of its ends, also on replay."""
    seen: list[Any] = []

    @workflow
    async def middle(name: str) -> list[str]:
        async with join_set() as calls:
            for n in (3, 1, 2):
                calls.submit(child, f"{name}{n}", 10 * n + (5 if name == "a" else 0))
            return [answer async for answer in calls]

    @workflow
    async def top() -> list[Any]:
        async with join_set() as calls:
            for name in "ab":
                calls.submit(middle, name)
            answers = [answer async for answer in calls]
        seen.append([*answers, execution_id()])
        await sleep(100)
        return [*answers, execution_id()]

    async def main() -> Database:
        async with world.engine(child, middle) as engine:
            await engine.submit(top, id="f")
            await asyncio.sleep(60)
            return world.crash()

    left = world.run(main())
    value = world.finish(left, top, middle, child)
    assert value == [["b1", "b2", "b3"], ["a1", "a2", "a3"], "f"]
    assert seen[0] == seen[1]
