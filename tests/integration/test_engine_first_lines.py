"""What an ``async def`` activity does before it waits for anything: it runs at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from obelisk_ops import Engine, Signal, activity, gather, workflow
from obelisk_ops.durable.flow.attempt import Attempt
from obelisk_ops.errors import ExecutionCancelled
from obelisk_ops.testing import EngineForTests
from tests.engines import looped, the_tables_fit_the_logs, until

MANY = 100_000
word = Signal("word", str)

engines: list[Engine] = []
begun: list[int] = []


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    engines.clear()
    begun.clear()


@activity
async def nothing(n: int) -> int:
    return n


@workflow
async def quick(n: int) -> int:
    return await nothing(n)


@workflow
async def very_long() -> int:
    return sum([await nothing(1) for _ in range(MANY)])


@activity
async def asks_for_others(own: str) -> list[bool]:
    """Change its own execution, and make another one, from its first line on."""
    engine = engines[0]
    asked = [await engine.handle(own).signal(word, "heard", id="1")]
    asked.append((await engine.submit(quick, 1, id="another")).created)
    return asked


@workflow
async def asking(own: str) -> tuple[list[bool], str | None]:
    answer = await asks_for_others(own)
    return answer, await word.receive()


@activity
async def cancels(own: str) -> None:
    await engines[0].handle(own).cancel()


@workflow(cancellable=True)
async def cancelled_from_inside(own: str) -> None:
    await cancels(own)


@activity
async def interrupts(n: int) -> None:
    begun.append(n)
    if n == 0:
        raise KeyboardInterrupt
    await asyncio.Event().wait()


@workflow
async def interrupted() -> None:
    await gather(*[interrupts(n) for n in range(3)])


@looped
async def _stays_fair(db: Path) -> None:
    async with Engine(db, grace=0) as engine:
        handle = await engine.submit(very_long)
        other = await engine.submit(quick, 7)
        assert await other.result() == 7
        await handle.pause()
        seen = len(handle.events())
        await asyncio.sleep(0.01)
        assert len(handle.events()) == seen
        await handle.unpause()
        await handle.cancel()
        with pytest.raises(ExecutionCancelled):
            await handle.result()


def test_steps_that_never_wait_keep_nobody_waiting(db: Path) -> None:
    _stays_fair(db)


@looped
async def _asks(db: Path) -> None:
    async with EngineForTests(db) as engine:
        engines.append(engine)
        handle = await engine.submit(asking, "own", id="own")
        assert await handle.result() == ([True, True], "heard")
        assert await engine.handle("another").result() == 1
        await engine.settle()
        the_tables_fit_the_logs(engine._owner.store)  # type: ignore[union-attr]


def test_it_may_ask_things_of_its_own_engine(db: Path) -> None:
    _asks(db)


@looped
async def _cancels(db: Path) -> None:
    async with EngineForTests(db) as engine:
        engines.append(engine)
        handle = await engine.submit(cancelled_from_inside, "own", id="own")
        with pytest.raises(ExecutionCancelled):
            await handle.result()
        await engine.settle()
        assert engine._owner.is_settled()  # type: ignore[union-attr]


def test_it_may_cancel_the_execution_that_waits_for_it(db: Path) -> None:
    _cancels(db)


def test_an_interrupt_ends_the_loop_and_not_what_begins_beside_it(db: Path) -> None:
    loop = asyncio.new_event_loop()
    engine = Engine(db, grace=0)
    try:
        loop.run_until_complete(engine.__aenter__())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(_submitted_and_done(engine))
        assert begun == [0, 1, 2]
        assert loop.run_until_complete(_answers(engine)) == 5
        assert loop.run_until_complete(_left_after_cancel(engine)) == []
        loop.run_until_complete(engine.__aexit__(None, None, None))
    finally:
        loop.close()


async def _submitted_and_done(engine: Engine) -> None:
    await (await engine.submit(interrupted, id="i")).result()


async def _answers(engine: Engine) -> int:
    return await (await engine.submit(quick, 5)).result()


async def _left_after_cancel(engine: Engine) -> list[Attempt]:
    assert engine._owner is not None
    handle = engine.handle("i")
    await handle.cancel()
    with pytest.raises(ExecutionCancelled):
        await handle.result()
    workshop = engine._owner._scheduler.workshop
    with suppress(TimeoutError):
        await until(lambda: not workshop.lingering(), "no place is taken any more")
    return workshop.lingering()
