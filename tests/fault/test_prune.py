"""Forgetting what is over: beside a busy engine, killed in the middle, with nobody there."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from obelisk_ops import Engine, activity, continue_as_new, join_set, run, sleep, workflow
from obelisk_ops.core import retention
from obelisk_ops.errors import ExecutionNotFound, InvalidInput
from obelisk_ops.restore.check import check_copy
from obelisk_ops.storage import open_archive, open_reader
from obelisk_ops.testing import EngineForTests, MovableClock
from tests.engines import crash, looped, until

NOW = timedelta(0)


@activity
async def add_one(n: int) -> int:
    return n + 1


@workflow
async def counting(steps: int) -> int:
    total = 0
    for _ in range(steps):
        total = await add_one(total)
    return total


@activity
def talkative() -> None:
    activity.heartbeat("here")
    print("hello")  # noqa: T201 - what is kept


@workflow(timeout=timedelta(hours=9))
async def talks() -> int:
    await talkative()
    return await counting(2)


@workflow(timeout=timedelta(hours=3))
async def family(children: int, hours: float) -> int:
    async with join_set("children") as members:
        for _ in range(children):
            members.submit(counting, 2)
        total = 0
        async for answer in members:
            total += answer
    await sleep(timedelta(hours=hours))
    return total


@workflow
async def endless(n: int, last: int) -> int:
    await sleep(timedelta(hours=1))
    if n < last:
        continue_as_new(n + 1, last)
    return n


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def ids(engine: Engine) -> list[str]:
    return [row.id for row in engine.list(limit=100_000)]


async def prune(engine: Engine, **options: Any) -> Any:
    given: dict[str, Any] = {"older_than": NOW, "apply": True} | options
    return await engine.prune(**given)


@looped
async def test_a_dry_run_changes_nothing(db: Path) -> None:
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        for n in range(3):
            await (await engine.submit(counting, 2, id=f"c{n}")).result()
        await engine.submit(family, 2, 1.0, id="f")
        await clock.advance(minutes=1)
        before = engine.commits

        told = await engine.prune(older_than=NOW)

        assert (told.applied, told.executions, told.kept) == (False, 3, {})
        [group] = told.groups
        assert (group.function, group.result) == (counting.name, "ok")
        events = sum(len(engine.read_log(f"c{n}")) for n in range(3))
        assert told.events == group.events == events
        assert told.bytes > 300
        assert engine.commits == before
        assert (await engine.prune()).executions == 0  # nothing is older than a month


@pytest.mark.behaviour("P56")
@looped
async def test_what_runs_is_not_touched(db: Path) -> None:
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        await engine.submit(counting, 2, id="over")
        await engine.submit(family, 3, 1.0, id="f")
        await clock.advance(minutes=1)

        told = await prune(engine)
        assert told.executions == 1
        assert ids(engine) == ["f", "f/1", "f/2", "f/3"]
        await engine.crash()
        await clock.advance(hours=1)
        assert await engine.handle("f").result() == 6

        await clock.advance(seconds=1)
        assert (await prune(engine)).executions == 4
        assert ids(engine) == []
        await clock.advance(hours=5)  # past the deadline of what is gone
        again = await engine.submit(family, 1, 0.0, id="f")
        assert (again.created, await again.result()) == (True, 2)
    check_copy(db)


def filled_tables(db: Path) -> set[str]:
    """Every table that has a row of an execution, those of later versions of it too."""
    with closing(apsw.Connection(str(db))) as connection:
        query = "SELECT m.name, c.name FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c"
        places = [(t, c) for t, c in connection.execute(query) if c == "execution"]
        places += [("state", "key"), ("leftover", "key")]
        texts = {t: f"SELECT 1 FROM {t} WHERE {c} > 0" for t, c in places}  # noqa: S608 - ours
        return {t for t, text in texts.items() if connection.execute(text).fetchone()}


@looped
async def test_no_row_of_any_table_is_left(db: Path) -> None:
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        await (await engine.submit(talks, id="t")).result()
        await clock.advance(seconds=1)
        assert filled_tables(db) >= {"state", "log", "inbox", "output"}

        assert (await prune(engine)).executions == 2

    assert filled_tables(db) == set()


@looped
async def test_a_chain_stays_known_by_its_first_id(db: Path) -> None:
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        handle = await engine.submit(endless, 1, 20, id="e")
        await clock.advance(hours=10, minutes=30)
        assert len(ids(engine)) == 11

        await prune(engine)
        assert ids(engine) == ["e", "e~11"]
        again = await engine.submit(endless, 1, 20, id="e")
        assert again.created is False
        await engine.crash()
        await clock.advance(hours=5)
        await prune(engine)
        assert ids(engine) == ["e", "e~16"]
        assert await handle.cancel() is True
        await engine.settle()
        assert engine.row("e~16").result == "cancelled"
        await clock.advance(seconds=1)
        await prune(engine)
        assert ids(engine) == []


@pytest.mark.behaviour("P56")
@looped
async def test_a_death_at_any_slice_is_made_up_for(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLICE_EVENTS", 5)
    for at in range(1, 30):
        clock = MovableClock()
        path = db.with_name(f"{at}.db")
        async with EngineForTests(path, clock=clock, workflows=[counting]) as engine:
            await engine.submit(family, 2, 0.0, id="f")
            await engine.submit(counting, 20, id="c")
            await engine.submit(endless, 1, 9, id="e")
            await clock.advance(hours=2, minutes=30)
            (engine.crash_before if at % 2 else engine.crash_after)(at)

            await prune(engine)

            assert ids(engine) == ["e", "e~3"]
            crashes = engine.crashes
        check_copy(path)
        with closing(open_archive(path)) as archive:
            assert (archive.leftovers(), archive.letters(9)) == ([], [])
        if not crashes:
            return
    raise AssertionError("it never came to an end")


@pytest.mark.behaviour("P56")
@looped
async def test_a_death_between_any_two_statements(
    db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of any moment passes the checks of a restore, and has no child without parent."""
    monkeypatch.setattr(retention, "SLICE_EVENTS", 5)
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        await engine.submit(family, 2, 0.0, id="f")
        await engine.submit(counting, 20, id="c")
        await clock.advance(seconds=1)
        copies: list[Path] = []

        def statement(*_args: object) -> bool:
            copies.append(crash(db, tmp_path / f"copy-{len(copies)}"))
            return True

        store: Any = engine._mortal._store  # type: ignore[union-attr]
        store._connection.exec_trace = statement
        await prune(engine)
        store._connection.exec_trace = None
        assert ids(engine) == []
    assert len(copies) > 20
    sizes = set()
    for copy in copies[:: max(1, len(copies) // 40)]:
        async with Engine(copy, clock=clock) as later:
            rows = {row.key: row for row in later.list()}
            sizes.add(len(rows))
            assert {row.parent for row in rows.values()} <= {None, *rows}
            await prune(later)
            assert ids(later) == []
        check_copy(copy)
    assert len(sizes) > 2


@looped
async def test_it_goes_on_beside_a_busy_engine(db: Path) -> None:
    async with Engine(db) as engine:
        handles = [await engine.submit(counting, 10, id=f"old-{n}") for n in range(300)]
        for handle in handles:
            await handle.result()
        await asyncio.sleep(0.01)
        pruning = asyncio.create_task(prune(engine))
        new = [await engine.submit(counting, 10, id=f"new-{n}") for n in range(50)]
        assert [await handle.result() for handle in new] == [10] * 50

        assert (await pruning).executions >= 300
        assert not [name for name in ids(engine) if name.startswith("old")]


@pytest.mark.parametrize("is_owned", [True, False])
def test_it_is_asked_for_from_elsewhere(db: Path, *, is_owned: bool) -> None:
    run(counting, 3, db=db, id="old")

    async def ask() -> None:
        await asyncio.sleep(0.01)
        async with Engine(db, serve=False) as engine:
            assert (await prune(engine)).executions == 1
            with pytest.raises(ExecutionNotFound):
                engine.handle("old")
            assert (await prune(engine)).executions == 0

    async def beside_an_owner() -> None:
        async with Engine(db):
            await ask()

    asyncio.run(beside_an_owner() if is_owned else ask())
    with closing(open_reader(db)) as reader:
        assert reader.letters(9) == []


@looped
async def test_a_request_that_was_left_is_done_by_the_next_owner(db: Path) -> None:
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        await (await engine.submit(counting, 3, id="old")).result()
    async with Engine(db, serve=False, clock=clock) as other:
        wanted = retention.Wanted(before=1 << 60, upto=1)
        await other.ask(retention.KIND, "", retention.encode(wanted))
        await other.ask(retention.KIND, "", '{"what": "is this?"}')

    async with EngineForTests(db, clock=clock) as engine:
        await until(lambda: len(engine._reader().letters(9)) == 1, "it is done")
        assert ids(engine) == []
        left = [letter.body for letter in engine._reader().letters(9)]
        assert left == ['{"what": "is this?"}']


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"result": "error"}, ["a", "b", "c"]),
    ({"result": ["ok", "error"]}, []),
    ({"function": counting}, ["c"]),
    ({"function": "nobody"}, ["a", "b", "c"]),
    ({"keep": 1}, ["b", "c"]),
    ({"older_than": timedelta(minutes=30)}, ["b", "c"]),
]


@pytest.mark.parametrize(("options", "stay"), FILTERS)
@looped
async def test_filters(db: Path, options: dict[str, Any], stay: list[str]) -> None:
    clock = MovableClock()
    async with EngineForTests(db, clock=clock) as engine:
        await engine.submit(counting, 1, id="a")
        await clock.advance(hours=1)
        await engine.submit(counting, 1, id="b")
        await engine.submit(family, 0, 0.0, id="c")
        await clock.advance(seconds=1)

        await prune(engine, **options)

        assert ids(engine) == stay


@looped
async def test_what_makes_no_sense_is_refused(db: Path) -> None:
    async with Engine(db) as engine:
        with pytest.raises(InvalidInput, match="'good' is no result"):
            await engine.prune(result="good")
        with pytest.raises(InvalidInput, match="keep=-1"):
            await engine.prune(keep=-1)
        with pytest.raises(InvalidInput, match="older_than=5 is no duration"):
            await engine.prune(older_than=5)  # type: ignore[arg-type]


@looped
async def test_space_is_used_again(db: Path) -> None:
    """The file does not shrink, and does not grow either."""
    clock = MovableClock()
    sizes = []
    async with EngineForTests(db, clock=clock) as engine:
        for rounds in range(6):
            for n in range(20):
                await engine.submit(counting, 30, id=f"{rounds}-{n}")
            await clock.advance(seconds=1)
            await prune(engine)
            connection: Any = engine._mortal._store._connection  # type: ignore[union-attr]
            sizes.append(connection.pragma("page_count"))

    assert sizes[-1] < 1.3 * sizes[1], sizes
