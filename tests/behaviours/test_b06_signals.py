"""Signals and results from outside: kept, delivered once, in order, also across crashes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from obelisk_ops import (
    Signal,
    continue_as_new,
    gather,
    sleep,
    stub,
    timeout,
    workflow,
)
from obelisk_ops.core.events import Event
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import (
    AlreadyAnswered,
    ExecutionEnded,
    ExecutionNotFound,
    InvalidInput,
    StubNotFound,
)
from obelisk_ops.testing import replay
from tests.databases import Database
from tests.engines import bodies, kinds, read_log
from tests.world import World, check_tables

#: in memory while it waits, and on disk alone
pytestmark = pytest.mark.parametrize("world", [1000, 0], indirect=True, ids=["kept", "resting"])

number = Signal("number", int)
approve = Signal("approve", bool)


@workflow
async def waits_first() -> int | None:
    return await number.receive()


@workflow
async def works_first() -> int | None:
    await sleep(60)
    return await number.receive()


@pytest.mark.parametrize("flow", [waits_first, works_first])
def test_p29_a_signal_is_kept_until_it_is_waited_for(world: World, flow: Any) -> None:
    """Sent before the wait or within it, and with a crash in between: received once."""

    async def main() -> Database:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(1)
            await handle.signal(number, 7)
            return world.crash()

    left = world.run(main())
    assert world.finish(left, flow) == 7
    assert kinds(read_log(left, "f")).count("signal_received") == 1
    check_tables(left)


def test_p29_a_signal_for_nobody_is_refused(world: World) -> None:
    """An execution that does not exist, and never did, gets no signals."""

    async def main() -> None:
        async with world.engine(waits_first) as engine:
            handle = await engine.submit(waits_first, id="f")
            with pytest.raises(ExecutionNotFound):
                await engine.ask("signal", "nobody", '{"name":"number","value":1}')
            with pytest.raises(InvalidInput):
                await handle.signal(number, "seven")  # type: ignore[misc]
            await handle.signal(number, 1)
            assert await handle.result() == 1

    world.run(main())


@pytest.mark.parametrize("flow", [waits_first, works_first])
def test_p29_a_signal_of_a_wrong_type_is_refused(
    world: World, flow: Workflow[[], int | None]
) -> None:
    """By the owner, who has the code, to a sender who has not; nothing of it is on record."""

    async def main() -> int | None:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(1)
            with pytest.raises(InvalidInput, match="signal number, which is int"):
                await handle.signal("number", "seven", id="s")
            assert await handle.signal("number", 7, id="s")
            return await handle.result()

    assert world.run(main()) == 7
    assert "set_aside" not in kinds(read_log(world.db, "f"))


@workflow
async def knows_late() -> list[int | None]:
    await sleep(60)
    odd = Signal("odd", int)
    return [await odd.receive(), await odd.receive(timeout=60)]


def test_p29_a_signal_that_turns_out_not_to_fit_is_set_aside(world: World) -> None:
    """Its sender has gone: it is on record, the code goes on waiting, whatever crashes."""

    async def main() -> tuple[Database, list[int | None]]:
        async with world.engine() as engine:
            handle = await engine.submit(knows_late, id="f")
            await handle.signal("odd", "one", id="s")
            await asyncio.sleep(70)
            [aside] = bodies(handle.events(), "set_aside")
            assert aside == {"n": 2, "seq": 1, "error": ANY}
            assert "signal odd, which is int" in aside["error"]
            assert await handle.signal("odd", 1, id="s")  # once more, and as it is meant
            await handle.signal("odd", 2, id="s")
            for left in world.every_crash():
                check_tables(left)
            return world.crash(), await handle.result()

    left, value = world.run(main())
    assert value == [1, None]
    assert world.finish(left, knows_late) == [1, None]


def test_p30_a_signal_for_what_has_ended_is_reported(world: World) -> None:
    """The sender is told that the execution is finished."""

    async def main() -> None:
        async with world.engine() as engine:
            handle = await engine.submit(waits_first, id="f")
            await handle.signal(number, 1)
            await handle.result()
            with pytest.raises(ExecutionEnded) as caught:
                await handle.signal(number, 2)
            assert caught.value.exit_status == 8

    world.run(main())


@pytest.mark.parametrize("between", ["nothing", "the end of the wait", "a restart"])
def test_p31_a_signal_id_is_delivered_once(world: World, between: str) -> None:
    """Sent again with its id it is accepted and dropped, also after it was received."""

    @workflow
    async def two() -> list[int | None]:
        first = await number.receive()
        await sleep(60)
        return [first, await number.receive(timeout=60)]

    async def send(*, is_new: bool) -> None:
        async with world.engine(two) as engine:
            handle = await engine.submit(two, id="f")
            assert await handle.signal(number, 1, id="s1") is is_new
            if between == "the end of the wait":
                await asyncio.sleep(1)
            if between != "a restart":
                assert await handle.signal(number, 1, id="s1") is False

    world.run(send(is_new=True))
    if between == "a restart":
        world.run(send(is_new=False))

    assert world.finish(world.db, two) == [1, None]


@pytest.mark.parametrize("sent_at_s", [59.999, 60, 60.001])
def test_p32_a_signal_at_the_limit_has_one_outcome(world: World, sent_at_s: float) -> None:
    """What came of it is on record, and the same after a crash; a late signal is kept."""

    @workflow
    async def flow() -> list[int | None]:
        first = await number.receive(timeout=60)
        await sleep(100)
        return [first, await number.receive(timeout=0)]

    async def main() -> tuple[Database, list[int | None]]:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            await asyncio.sleep(sent_at_s)
            await handle.signal(number, 7)
            await asyncio.sleep(50)
            return world.crash(), await handle.result()

    left, value = world.run(main())

    assert sorted(value, key=str) == [7, None]
    assert world.finish(left, flow) == value
    log = read_log(left, "f")
    assert kinds(log).count("signal_received") == 1
    assert kinds(log).count("timer_fired") == 2
    check_tables(left)


def test_p33_signals_are_delivered_in_order_and_to_one_waiter_each(world: World) -> None:
    """Of one name as they came, whatever came of other names in between."""

    @workflow
    async def flow() -> list[Any]:
        await sleep(60)
        queue = [await number.receive() for _ in range(3)]
        yes = await approve.receive()
        pair = await gather(number.receive(), number.receive())
        return [queue, yes, pair]

    async def main() -> Database:
        async with world.engine() as engine:
            handle = await engine.submit(flow, id="f")
            for n in range(5):
                await handle.signal(number, n)
                if n == 1:
                    await handle.signal(approve, value=True)
            return world.crash()

    assert world.finish(world.run(main()), flow) == [[0, 1, 2], True, [3, 4]]


def test_p34_what_nobody_took_goes_along_when_it_continues_as_new(world: World) -> None:
    """A loop that continues as new after each signal loses none that came in a burst."""

    @workflow
    async def counts(total: int, left: int) -> int:
        if not left:
            return total
        value = await number.receive()
        assert value is not None
        await sleep(1)
        return continue_as_new(total + value, left - 1)

    async def main() -> tuple[Database, int]:
        async with world.engine() as engine:
            handle = await engine.submit(counts, 0, 5, id="f")
            for n in range(5):
                await handle.signal(number, 10**n)
            return world.crash(), await handle.result()

    left, value = world.run(main())

    assert value == 11111
    assert world.finish(left, counts) == 11111


@stub
def decide(order: int) -> str:
    """Somebody decides."""
    raise NotImplementedError


@workflow
async def asks() -> str:
    return await decide(7)


@pytest.mark.behaviour("P35")
def test_o05_a_result_from_outside_is_idempotent_by_its_value(world: World) -> None:
    """The same again is accepted, before and after a crash; another one is refused."""

    async def answer(db: Database) -> Database:
        async with world.engine(asks, db=db) as engine:
            handle = await engine.submit(asks, id="f")
            await engine.stub("f/1", "yes")
            await engine.stub("f/1", "yes")
            with pytest.raises(AlreadyAnswered):
                await engine.stub("f/1", "no")
            left = world.crash(db)
            assert await handle.result() == "yes"
            return left

    left = world.run(answer(world.db))
    world.run(answer(left))
    assert kinds(read_log(left, "f")).count("stub_answered") == 1
    check_tables(left)


def test_p35_a_wait_for_a_result_may_have_a_limit(world: World) -> None:
    """After it the call is not wanted any more, and a late answer is refused."""

    @workflow
    async def impatient() -> str:
        try:
            async with timeout(timedelta(minutes=1)):
                await decide(7)
        except TimeoutError:
            await sleep(60)
            return "nobody answered"
        return "answered"

    async def main() -> str:
        async with world.engine() as engine:
            handle = await engine.submit(impatient, id="f")
            with pytest.raises(StubNotFound):
                await engine.stub("f/99", "yes")
            await asyncio.sleep(90)
            with pytest.raises(AlreadyAnswered):
                await engine.stub("f/2", "yes")
            return await handle.result()

    assert world.run(main()) == "nobody answered"


def test_p35_a_result_that_does_not_fit_is_refused(world: World) -> None:
    """The caller is told; the call waits for one that does."""

    async def main() -> str:
        async with world.engine() as engine:
            handle = await engine.submit(asks, id="f")
            with pytest.raises(InvalidInput):
                await engine.stub("f/1", 7)
            await engine.stub("f/1", "no")
            return await handle.result()

    assert world.run(main()) == "no"


def test_p35_a_result_that_turns_out_not_to_fit_is_set_aside(world: World) -> None:
    """Given while nobody had the code: the call waits for another one, also after a crash."""

    async def begin() -> Database:
        async with world.engine() as engine:
            await engine.submit(asks, id="f")
            return world.crash()

    async def answer(db: Database) -> Database:
        async with world.engine(db=db) as engine:  # it serves nothing
            await engine.stub("f/1", 7)
            with pytest.raises(AlreadyAnswered):
                await engine.stub("f/1", "no")
            return world.crash(db)

    async def again(db: Database) -> Database:
        async with world.engine(asks, db=db) as engine:
            handle = engine.handle("f")
            await asyncio.sleep(1)
            assert kinds(handle.events())[-1] == "set_aside"
            assert await engine.stub("f/1", "no")
            assert not await engine.stub("f/1", "no")
            return world.crash(db)

    left = world.run(again(world.run(answer(world.run(begin())))))
    check_tables(left)
    assert world.finish(left, asks) == "no"


def test_p29_what_an_earlier_version_gave_to_the_code_is_told_again(world: World) -> None:
    """It gave it a signal that does not fit, as an error: a replay does the same."""
    handled = [
        ("created", {"fn": waits_first.name, "in": []}),
        ("signal_awaited", {"n": 1, "name": "number"}),
        ("signal_received", {"n": 1, "seq": 1}),
    ]
    log = [
        Event(at, at, kind, msgspec.json.encode(body).decode())
        for at, (kind, body) in enumerate(handled)
    ]
    arrived = InboxItem("signal", 0, 1, '{"name":"number","value":"seven"}')
    history = History(
        execution_id="f", function=waits_first.name, events=log, inbox={1: arrived}
    )

    replayed = replay(history, waits_first)

    assert isinstance(replayed.error, InvalidInput)
