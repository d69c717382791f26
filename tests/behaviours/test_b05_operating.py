"""Starting, attaching, listing, and what one execution or file may do to the others."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from obelisk_ops import Engine, activity, sleep, storage, workflow
from obelisk_ops.core.ports import State, Write
from obelisk_ops.errors import ExecutionExists, Nondeterminism, StorageUnavailable
from obelisk_ops.storage import open_reader, open_store
from tests.databases import Database
from tests.engines import bodies, read_log
from tests.world import World, check_tables


@activity
async def act(n: int) -> int:
    return n


@workflow
async def naps(n: int) -> int:
    await sleep(60)
    return await act(n)


@workflow
async def quick(n: int) -> int:
    return await act(n)


UNREADABLE = """
UPDATE log SET body = '{' WHERE key = (SELECT key * 4294967296 + 1 FROM state WHERE id = 'e0')
"""


def test_o49_one_unreadable_log_stops_nobody_else(world: World) -> None:
    """Damage in the log of the oldest execution of a workflow parks that one alone."""

    async def begin() -> None:
        async with world.engine() as engine:
            for n in range(5):
                await engine.submit(naps, n, id=f"e{n}")

    async def go_on() -> list[int]:
        async with world.engine(naps) as engine:
            with pytest.raises(Nondeterminism, match="cannot be read"):
                await engine.handle("e0").result()
            assert engine.handle("e0").status().state is State.PARKED
            return [await engine.handle(f"e{n}").result() for n in range(1, 5)]

    world.run(begin())
    world.databases.change(world.db, UNREADABLE)

    assert world.run(go_on()) == [1, 2, 3, 4]


def test_o50_a_busy_workflow_does_not_starve_another(world: World) -> None:
    """A thousand calls of one workflow are in flight; another one ends long before them."""

    @activity
    async def long() -> None:
        await asyncio.sleep(1000)

    @workflow
    async def greedy() -> None:
        await long()

    async def main() -> float:
        async with world.engine() as engine:
            await asyncio.gather(*(engine.submit(greedy) for _ in range(1000)))
            modest = await engine.submit(quick, 7)
            assert await modest.result() == 7
            return world.passed_s

    assert world.run(main()) < 1000


def test_o52_pages_of_one_instant_skip_and_repeat_nothing(world: World) -> None:
    """Thirty executions made in the same millisecond, in pages of seven."""

    async def main() -> list[str]:
        async with world.engine() as engine:
            for n in range(30):
                await engine.submit(quick, n, id=f"e{n}")
            assert len({row.created_at for row in engine.list()}) == 1
            pages: list[str] = []
            while page := engine.list(after=pages[-1] if pages else None, limit=7):
                pages += [row.id for row in page]
            return pages

    assert world.run(main()) == [f"e{n}" for n in range(30)]


def test_o53_the_result_of_what_is_finished_is_there_at_once(world: World) -> None:
    """Also for whoever has no patience, on any engine, as often as it is asked for."""

    async def main() -> list[int]:
        async with world.engine() as engine:
            await (await engine.submit(quick, 7, id="f")).result()
        async with world.engine(quick) as engine, Engine(world.db, serve=False) as reader:
            answers = []
            for one in (engine, engine, reader):
                async with asyncio.timeout(0.001):
                    answers.append(await one.handle("f").result())
            return answers

    assert world.run(main()) == [7, 7, 7]


@pytest.mark.behaviour("P47", "P50")
def test_o54_the_same_request_attaches_and_another_is_refused(world: World) -> None:
    """While it runs, when it is finished, and after a restart; the message has both inputs."""
    ran: list[int] = []

    @activity
    async def charge(n: int) -> int:
        ran.append(n)
        return n

    @workflow
    async def pays(n: int) -> int:
        await sleep(10)
        return await charge(n)

    async def ask(*, is_new: bool) -> int:
        async with world.engine(pays) as engine:
            handle = await engine.submit(pays, 1, id="order")
            again = await engine.submit(pays, 1, id="order")
            assert (handle.created, again.created) == (is_new, False)
            with pytest.raises(ExecutionExists, match=r"\[1\].*\[2\]") as caught:
                await engine.submit(pays, 2, id="order")
            assert caught.value.exit_status == 8
            with pytest.raises(ExecutionExists, match="quick"):
                await engine.submit(quick, 1, id="order")
            assert await handle.result() == await again.result() == 1
            return await (await engine.submit(pays, 1, id="order")).result()

    assert world.run(ask(is_new=True)) == 1
    assert world.run(ask(is_new=False)) == 1
    assert ran == [1]
    assert [body["in"] for body in bodies(read_log(world.db, "order"), "created")] == [[1]]


def test_o55_reading_a_database_leaves_every_byte(world: World) -> None:
    """Nothing is executed, nothing migrated, and no file is written beside it."""

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(naps, 1, id="f")
            return world.crash()

    left = world.run(main())
    world.passed_s += 3600
    before = world.databases.contents(left)

    with closing(open_reader(left)) as reader:
        row = reader.find("f")
        assert row is not None
        assert row.state is State.BLOCKED
        assert len(reader.log(row.key)) == 2
    assert world.databases.contents(left) == before


def test_p55_a_restart_strands_nobody(world: World) -> None:
    """One engine after the other, each for a while: everything that was begun ends."""

    @workflow
    async def waits(n: int) -> int:
        for _ in range(3):
            await sleep(10 + n)
            await act(n)
        return n

    async def shift(first: int) -> None:
        async with world.engine(waits) as engine:
            for n in range(first, first + 5):
                await engine.submit(waits, n, id=f"e{n}")
            await asyncio.sleep(17)

    async def last() -> list[int]:
        async with world.engine(waits) as engine:
            return [await engine.handle(f"e{n}").result() for n in range(20)]

    for first in (0, 5, 10, 15):
        world.run(shift(first))

    assert world.run(last()) == list(range(20))
    check_tables(world.db)


class Flaky:
    """A store that cannot be written for the first two seconds of the second engine."""

    engines = 0
    world: World

    def __init__(self, db: Database) -> None:
        Flaky.engines += 1
        self._fails_until = Flaky.world.passed_s + (2 if Flaky.engines > 1 else 0)
        self._store = open_store(db)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def commit(self, writes: list[Write]) -> object:
        if Flaky.world.passed_s < self._fails_until:
            raise StorageUnavailable("down")
        return self._store.commit(writes)


def test_p55_a_database_that_is_down_in_mid_recovery_drops_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds without storage while fifty executions are taken up: all of them end."""

    async def begin() -> None:
        async with world.engine() as engine:
            for n in range(50):
                await engine.submit(naps, n, id=f"e{n}")

    async def go_on() -> list[int]:
        async with world.engine(naps) as engine:
            return [await engine.handle(f"e{n}").result() for n in range(50)]

    Flaky.world, Flaky.engines = world, 0
    monkeypatch.setattr(storage, "open_store", Flaky)
    world.run(begin())
    world.passed_s += 60

    assert world.run(go_on()) == list(range(50))
    check_tables(world.db)
