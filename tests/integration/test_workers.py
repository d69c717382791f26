"""Several workers serve one schema: each execution is one's, and all see it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from obelisk_ops import Engine, Signal, activity, sleep, workflow
from obelisk_ops.core.ports import State
from obelisk_ops.errors import ExecutionEnded, ExecutionExists, ExecutionFailed
from tests.engines import looped, until
from tests.fault.working import Wrong
from tests.postgres import Postgres

go = Signal("go", int)
done: list[str] = []


@activity
async def note(name: str) -> str:
    """Do it, and let the test see that."""
    done.append(name)
    return name


@workflow
async def noted(name: str) -> str:
    """Take one step."""
    return await note(name)


@workflow
async def waits(name: str) -> int:
    """Wait for a number; then take a step."""
    number = await go.receive()
    await note(name)
    return number or 0


@workflow
async def parent(name: str) -> int:
    """Have a child that waits."""
    return await waits(name)


@workflow
async def naps(name: str) -> str:
    """Wait for a while."""
    await sleep(timedelta(milliseconds=50))
    return await note(name)


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    done.clear()
    with postgres.lent() as lent:
        yield lent


@asynccontextmanager
async def working(url: str, *, many: int = 2, **options: Any) -> AsyncIterator[list[Engine]]:
    """Several workers, the first of them the keeper."""
    options = {"workflows": [noted, waits, parent, naps]} | options
    engines = [Engine(url, **options) for _ in range(many)]
    for engine in engines:
        await engine.__aenter__()
    try:
        yield engines
    finally:
        for engine in engines:
            await engine.__aexit__(None, None, None)


def store_of(engine: Engine) -> Any:
    assert engine._owner is not None
    return engine._owner.store


def has(engine: Engine, execution_id: str) -> bool:
    """Tell whether a worker has an execution."""
    return bool(store_of(engine).is_mine(engine.row(execution_id).key))


@looped
async def all_are_done_once(url: str) -> None:
    async with working(url), Engine(url, serve=False) as client:
        names = [f"e{n}" for n in range(120)]
        handles = [await client.submit(noted, name, id=name) for name in names]
        assert [await handle.result() for handle in handles] == names
        assert sorted(done) == sorted(names)


def test_what_clients_submit_is_done_once(url: str) -> None:
    all_are_done_once(url)


@looped
async def others_are_asked(url: str) -> None:
    async with working(url) as [one, other]:
        mine = await one.submit(waits, "a", id="a")
        seen = other.handle("a")
        assert (has(one, "a"), has(other, "a")) == (True, False)

        assert await seen.pause()
        assert mine.status().state is State.PAUSED
        assert await seen.unpause()
        assert await seen.signal(go, 7)
        assert [await handle.result() for handle in (seen, mine)] == [7, 7]
        with pytest.raises(ExecutionEnded):
            await seen.signal(go, 8)


def test_a_worker_asks_something_of_an_execution_of_another(url: str) -> None:
    others_are_asked(url)


@looped
async def same_id(url: str) -> None:
    async with working(url) as [one, other]:
        made = await asyncio.gather(
            *(engine.submit(noted, "a", id="a") for engine in (one, other))
        )
        assert sorted(handle.created for handle in made) == [False, True]
        with pytest.raises(ExecutionExists):
            await other.submit(noted, "b", id="a")
        assert [await handle.result() for handle in made] == ["a", "a"]
        assert done == ["a"]


def test_an_id_is_one_execution_wherever_it_is_submitted(url: str) -> None:
    same_id(url)


@looped
async def left_to_another(url: str) -> None:
    async with working(url) as [one, other]:
        await one.submit(parent, "a", id="a")
        await one.submit(naps, "n", id="n")
        await one.schedule(noted, "s", every=timedelta(hours=1), id="s")
        assert store_of(one).is_keeper
        await one.__aexit__(None, None, None)
        await until(lambda: has(other, "a") and store_of(other).is_keeper, "it is adopted")
        assert await other.handle("n").result() == "n"
        (child,) = [row for row in other.list() if row.id.startswith("a/")]
        assert has(other, child.id)
        await other.handle(child.id).signal(go, 5)
        assert await other.handle("a").result() == 5
        started = await other.schedule_handle("s").trigger()
        assert await started.result() == "s"


def test_what_a_worker_leaves_another_goes_on_with(url: str) -> None:
    left_to_another(url)


@looped
async def killed(url: str) -> None:
    async with working(url) as [one, other]:
        await one.submit(waits, "a", id="a")
        store_of(one).abandon()
        await until(lambda: has(other, "a"), "it is adopted")
        await other.handle("a").signal(go, 5)
        assert await other.handle("a").result() == 5


def test_what_a_killed_worker_leaves_another_goes_on_with(url: str) -> None:
    killed(url)


@looped
async def fenced(url: str, postgres: Postgres) -> None:
    async with working(url) as [one, other]:
        mine = await one.submit(waits, "a", id="a")
        waiting = asyncio.create_task(mine.result())
        first = one._owner
        rows = store_of(other)._session.sightings()
        [row] = [row for row in rows if row.id == store_of(one).id]
        assert store_of(other).adopt(row) is not None
        assert store_of(other).adopt(row) is None, "it is as it was no more"
        other._owner._scheduler.nursery.recover()  # type: ignore[union-attr]

        assert await (await one.submit(noted, "b", id="b")).result() == "b"
        assert one._owner is not first
        assert await one.handle("a").signal(go, 5)
        assert await waiting == 5
        assert done.count("a") == 1


def test_a_worker_that_was_fenced_joins_again(url: str, postgres: Postgres) -> None:
    fenced(url, postgres)


@looped
async def two_versions(url: str) -> None:
    async with Engine(url, workflows=[noted]) as one, Engine(url, serve=False) as client:
        await client.submit(waits, "a", id="a")
        await client.submit(waits, "p", id="p", paused=True)
        await until(lambda: one.find("a") and has(one, "a"), "the keeper makes it")
        async with Engine(url, workflows=[waits]) as other:
            await until(lambda: has(other, "a"), "it is given to who serves it")
            await client.submit(noted, "b", id="b")
            assert await client.handle("b").result() == "b"
            assert has(one, "b") or client.row("b").state is State.FINISHED
            await client.handle("a").signal(go, 5)
            assert await client.handle("a").result() == 5


def test_an_execution_goes_to_a_worker_that_serves_its_workflow(url: str) -> None:
    two_versions(url)


@looped
async def awaited(url: str) -> None:
    took = []
    async with working(url) as [one, other]:
        for n in range(15):
            mine = await one.submit(waits, "a", id=f"a{n}")
            waiting = asyncio.create_task(other.handle(mine.id).result())
            await until(lambda: other._owner._others.ends._waiters, "it waits")  # type: ignore[union-attr]
            began = time.perf_counter()
            await mine.signal(go, 1)
            await waiting
            took.append(time.perf_counter() - began)
    print(f"median {1000 * statistics.median(took):.1f} ms")  # noqa: T201 - a figure
    assert statistics.median(took) < 0.5, "it did not hear of it"


def test_a_result_wakes_who_waits_at_another_worker(url: str) -> None:
    awaited(url)


@workflow
async def fails() -> None:
    """End with an error."""
    raise ValueError("no")


def test_an_error_is_told_at_another_worker(url: str) -> None:
    async def main() -> None:
        async with working(url, workflows=[fails]) as [one, other]:
            await one.submit(fails, id="f")
            with pytest.raises(ExecutionFailed, match="no"):
                await other.handle("f").result()

    asyncio.run(main())


@pytest.mark.parametrize("hours", [-1, 1])
def test_no_clock_of_a_worker_decides_whose_an_execution_is(url: str, hours: int) -> None:
    async def main() -> None:
        async with (
            working(url, many=1) as [one],
            working(url, clock=Wrong(hours), many=1) as [other],
        ):
            for engine, name in ((one, "a"), (other, "b")):
                await engine.submit(waits, name, id=name)
            for engine in (one, other, one):
                assert engine._owner is not None
                engine._owner._mailroom._look()
            assert (has(one, "a"), has(other, "b")) == (True, True)
            await one.handle("b").signal(go, 1)
            await other.handle("a").signal(go, 2)
            assert await one.handle("b").result() == 1
            assert await other.handle("a").result() == 2

    asyncio.run(main())
