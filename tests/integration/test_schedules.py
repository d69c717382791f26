"""Schedules in an engine: slots become executions, once, whatever happens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk_ops import Engine, Schedule, Signal, execution_id, sleep, workflow
from obelisk_ops.core import events
from obelisk_ops.core.ports import ExecutionFilter, State
from obelisk_ops.durable.onward import continue_as_new
from obelisk_ops.durable.unattended import answer_letters
from obelisk_ops.errors import (
    ExecutionExists,
    InvalidInput,
    ScheduleExists,
    ScheduleNotFound,
    WorkflowMisuse,
)
from obelisk_ops.storage.sqlite.store import SqliteStore
from obelisk_ops.testing import EngineForTests, MovableClock
from tests.engines import crash, looped, until

HOURLY = "0 * * * *"
BEGIN = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
go_on = Signal("go-on", bool)


@workflow
async def quick(n: int) -> str:
    return f"{execution_id()} {n}"


@workflow
async def slow(hours: float) -> str:
    await sleep(timedelta(hours=hours))
    return execution_id()


@workflow
async def patient() -> bool | None:
    return await go_on.receive()


@workflow
async def two_parts(n: int) -> int:
    await sleep(timedelta(minutes=50))
    if n < 2:
        continue_as_new(n + 1)
    return n


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(BEGIN)


@asynccontextmanager
async def serving(
    db: Path, clock: MovableClock, **options: Any
) -> AsyncIterator[EngineForTests]:
    given = {"workflows": [quick, slow, patient, two_parts]} | options
    async with EngineForTests(db, clock=clock, **given) as engine:
        yield engine


@asynccontextmanager
async def asking(db: Path, clock: MovableClock) -> AsyncIterator[Engine]:
    async with Engine(db, serve=False, clock=clock) as engine:
        yield engine


def made(engine: Engine, state: str | None = None) -> list[str]:
    """Return the times of the executions, without the day."""
    return [row.id.partition("T")[2] for row in engine.list(state=state, limit=10_000)]


@looped
async def test_each_slot_becomes_one_execution(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        schedule = await engine.schedule(quick, 7, cron=HOURLY, id="hourly")
        assert engine.list() == []
        await clock.advance(hours=3)

        assert made(engine) == ["10:00:00Z", "11:00:00Z", "12:00:00Z"]
        [first, *_] = engine.list()
        assert first.id == "hourly@2026-11-23T10:00:00Z"
        assert first.created_at == datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp() * 1000
        assert await engine.handle(first.id).result() == f"{first.id} 7"
        created = msgspec.json.decode(engine.read_log(first.id)[0].body, type=events.Created)
        assert created.cron == "hourly"
        row = schedule.status()
        assert (row.made, row.skipped, row.newest) == (3, 0, "hourly@2026-11-23T12:00:00Z")


@looped
async def test_a_slot_is_made_within_50_ms(db: Path) -> None:
    async with Engine(db) as engine:
        await engine.schedule(quick, 1, every=timedelta(seconds=1), id="tick")
        await until(lambda: len(engine.list()) >= 4, "four slots")
        late = [row.created_at % 1000 for row in engine.list()]

    assert min(late) < 50, late


@looped
async def test_zones_and_daylight_saving(db: Path) -> None:
    clock = MovableClock(datetime(2026, 10, 24, 20, tzinfo=UTC))
    async with serving(db, clock) as engine:
        schedule = await engine.schedule(
            quick, 1, cron="30 2 * * *", timezone="Europe/Berlin", id="n"
        )
        assert [str(t) for t in schedule.next_times(2)] == [
            "2026-10-25 02:30:00+02:00", "2026-10-26 02:30:00+01:00",
        ]  # fmt: skip
        await clock.advance(days=2)
        assert [row.id for row in engine.list()] == [
            "n@2026-10-25T00:30:00Z", "n@2026-10-26T01:30:00Z",
        ]  # fmt: skip


OVERLAPS = [
    ("skip", ["10:00:00Z", "13:00:00Z"], 0, 2),
    ("allow", ["10:00:00Z", "11:00:00Z", "12:00:00Z", "13:00:00Z"], 0, 0),
    ("buffer_one", ["10:00:00Z", "11:00:00Z"], 0, 1),
    ("cancel_other", ["10:00:00Z", "11:00:00Z", "12:00:00Z", "13:00:00Z"], 3, 0),
]


@pytest.mark.parametrize(("overlap", "starts", "cancelled", "skipped"), OVERLAPS)
@looped
async def test_overlap(
    db: Path, clock: MovableClock, overlap: str, starts: list[str], cancelled: int, skipped: int
) -> None:
    async with serving(db, clock) as engine:
        schedule = await engine.schedule(slow, 2.5, cron=HOURLY, overlap=overlap, id="s")
        await clock.advance(hours=4, minutes=-15)

        assert made(engine) == starts
        ended = [str(row.result) for row in engine.list()]
        assert ended.count("cancelled") == cancelled
        assert schedule.status().skipped == skipped


@looped
async def test_what_waits_starts_when_the_other_ends_also_after_a_death(
    db: Path, clock: MovableClock
) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(patient, cron=HOURLY, overlap="buffer_one", id="s")
        await clock.advance(hours=2)
        assert made(engine) == ["10:00:00Z"]
        assert engine.schedule_handle("s").status().waiting is not None
        await engine.crash()

        await engine.handle("s@2026-11-23T10:00:00Z").signal(go_on, value=True)
        await engine.settle()

        assert made(engine) == ["10:00:00Z", "11:00:00Z"]
        assert engine.schedule_handle("s").status().waiting is None


@looped
async def test_one_that_goes_on_as_another_still_runs(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        schedule = await engine.schedule(two_parts, 1, cron=HOURLY, id="s")
        await clock.advance(hours=2)

        assert made(engine) == ["10:00:00Z", "10:00:00Z~2"]
        assert schedule.status().skipped == 1


CATCH_UPS: list[tuple[Any, list[str]]] = [
    ("one", ["15:00:00Z"]),
    ("all", ["10:00:00Z", "11:00:00Z", "12:00:00Z", "13:00:00Z", "14:00:00Z", "15:00:00Z"]),
    ("none", []),
    (timedelta(hours=2), ["14:00:00Z", "15:00:00Z"]),
]


@pytest.mark.parametrize(("catch_up", "starts"), CATCH_UPS)
@looped
async def test_after_an_outage(
    db: Path, clock: MovableClock, catch_up: Any, starts: list[str]
) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, overlap="allow", catch_up=catch_up, id="s")
    await clock.jump(timedelta(hours=6))

    async with serving(db, clock) as engine:
        await engine.settle()
        assert made(engine) == starts
        await clock.advance(minutes=30)
        assert made(engine) == [*starts, "16:00:00Z"]


@looped
async def test_weeks_of_silence_are_made_up_for_in_parts(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, overlap="allow", catch_up="all", id="s")
    await clock.jump(timedelta(days=20))

    async with serving(db, clock) as engine:
        await clock.advance(seconds=0)
        assert len(made(engine)) == 20 * 24


@looped
async def test_a_clock_set_back_repeats_nothing(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, id="s")
        await clock.advance(hours=30)
        before = made(engine)
    await clock.jump(timedelta(hours=-20))

    async with serving(db, clock) as engine:
        await clock.advance(hours=20)
        assert made(engine) == before
        await clock.advance(hours=1)
        assert len(made(engine)) == len(before) + 1


@looped
async def test_a_schedule_waits_where_its_workflow_is_not_served(
    db: Path, clock: MovableClock
) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, catch_up="all", overlap="allow", id="s")
    async with serving(db, clock, workflows=[patient]) as engine:
        await clock.advance(hours=2)
        assert made(engine) == []
        await answer_letters(db)

        await engine.submit(quick, 5, id="now-it-is")
        await engine.settle()
        assert len(made(engine)) == 3


@looped
async def test_the_same_attaches_another_is_a_conflict(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        facts: dict[str, Any] = {"cron": HOURLY, "id": "s"}
        assert (await engine.schedule(quick, 1, **facts)).created is True
        await clock.advance(hours=1)
        assert (await engine.schedule(quick, 1, **facts)).created is False
        with pytest.raises(ScheduleExists, match=r"has arguments \[1\], not \[2\]"):
            await engine.schedule(quick, 2, **facts)
        changed = await engine.schedule(quick, 2, cron="30 * * * *", id="s", replace=True)
        assert changed.created is True
        await clock.advance(hours=1)

        assert made(engine) == ["10:00:00Z", "11:30:00Z"]
        assert [one.id for one in engine.schedules()] == ["s"]


@contextmanager
def refused(said: str, kind: type[Exception] = InvalidInput) -> Iterator[None]:
    with pytest.raises(kind, match=said):
        yield


@looped
async def test_what_makes_no_sense_is_refused_at_once(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        with refused("six fields; seconds are not supported"):
            await engine.schedule(quick, 1, cron="0 0 3 * * *")
        with refused("either cron= or every="):
            await engine.schedule(quick, 1)
        with refused("every=0:00:00.500000 is too short"):
            await engine.schedule(quick, 1, every=timedelta(seconds=0.5))
        with refused("no duration"):
            await engine.schedule(quick, 1, every=5)  # type: ignore[arg-type]
        with refused("catch_up=datetime.* is no duration"):
            await engine.schedule(quick, 1, cron=HOURLY, catch_up=timedelta(-1))
        with refused("cannot be the id of a schedule"):
            await engine.schedule(quick, 1, cron=HOURLY, id="a@b")
        with refused("Expected `int`"):
            await engine.schedule(quick, "one", cron=HOURLY)
        with refused("no workflow", WorkflowMisuse):
            await engine.schedule(print, cron=HOURLY)  # type: ignore[arg-type]
        assert engine.schedules() == []


@looped
async def test_it_is_managed_from_elsewhere(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine, asking(db, clock) as other:
        schedule = await other.schedule(quick, 1, cron=HOURLY)
        assert schedule.id == quick.name
        assert [one.id for one in other.schedules()] == [quick.name]
        await until(engine.schedules, "the owner has it")
        await clock.advance(hours=1)

        assert (await schedule.pause(), await schedule.pause()) == (True, False)
        await until(lambda: engine.schedule_handle(schedule.id).status().paused, "paused")
        await clock.advance(hours=2)
        assert made(engine) == ["10:00:00Z"]
        assert schedule.next_times(1) == [datetime(2026, 11, 23, 13, tzinfo=UTC)]

        assert (await schedule.unpause(), await schedule.unpause()) == (True, False)
        await engine.settle()
        await clock.advance(hours=1)
        assert made(engine) == ["10:00:00Z", "13:00:00Z"]

        assert await schedule.delete() is True
        with refused("no schedule", ScheduleNotFound):
            schedule.status()
        with refused("no schedule", ScheduleNotFound):
            await schedule.pause()
        await until(lambda: not engine.schedules(), "deleted")


@looped
async def test_it_is_asked_for_while_nobody_serves(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock):
        pass
    async with asking(db, clock) as other:
        schedule = await other.schedule(quick, 1, cron=HOURLY, catch_up="all", overlap="allow")
        assert schedule.status().due is not None
    await clock.jump(timedelta(hours=2))

    async with serving(db, clock) as engine:
        await engine.settle()
        assert made(engine) == ["10:00:00Z", "11:00:00Z"]


@looped
async def test_triggering_starts_one_whatever_runs(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        schedule = await engine.schedule(slow, 1.5, cron=HOURLY, id="s")
        first, second = await schedule.trigger(), await schedule.trigger()
        await clock.advance(hours=2)

        assert (first.id, second.id) == (
            "s@2026-11-23T09:30:00.001Z", "s@2026-11-23T09:30:00.002Z",
        )  # fmt: skip
        assert await first.result() == first.id
        assert made(engine, "blocked") == ["11:00:00Z"]  # that of 10:00 was skipped
        row = schedule.status()
        assert (row.made, row.skipped) == (3, 1)


@looped
async def test_triggering_from_elsewhere(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine, asking(db, clock) as other:
        await engine.schedule(quick, 1, cron=HOURLY, id="s", paused=True)
        handle = await other.schedule_handle("s").trigger()

        assert await handle.result() == f"{handle.id} 1"
        assert engine.schedule_handle("s").status().newest == handle.id


# -- deaths ------------------------------------------------------------------------------


ALL_FIVE = [f"{hour}:00:00Z" for hour in range(10, 15)]
AFTER_FIVE_HOURS = {
    "skip": ["10:00:00Z", "12:00:00Z", "14:00:00Z"],
    "allow": ALL_FIVE,
    "buffer_one": ["10:00:00Z", "11:00:00Z", "12:00:00Z", "13:00:00Z"],
    "cancel_other": ALL_FIVE,
}


@pytest.mark.parametrize("overlap", AFTER_FIVE_HOURS)
@pytest.mark.parametrize("before", [True, False])
@looped
async def test_a_death_at_any_commit_loses_no_slot_and_repeats_none(
    db: Path, clock: MovableClock, overlap: str, *, before: bool
) -> None:
    for at in range(1, 12):
        db = db.with_name(f"{at}.db")
        clock = MovableClock(BEGIN)
        async with serving(db, clock) as engine:
            await engine.schedule(
                slow, 1.4, cron=HOURLY, overlap=overlap, catch_up="all", id="s"
            )
            (engine.crash_before if before else engine.crash_after)(at)
            await clock.advance(hours=5)
            starts = made(engine)
            crashes = engine.crashes
        assert len(starts) == len(set(starts))
        assert starts == AFTER_FIVE_HOURS[overlap], at
        if not crashes:
            return


@looped
async def test_a_death_between_any_two_statements(db: Path, tmp_path: Path) -> None:
    """The slot's execution and the schedule's advance are there both, or neither."""
    clock = MovableClock(BEGIN)
    copies: list[Path] = []
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, id="s")
        assert engine._mortal is not None
        store: Any = engine._mortal._store
        connection = store._connection

        def statement(*_args: object) -> bool:
            copies.append(crash(db, tmp_path / f"copy-{len(copies)}"))
            return True

        connection.exec_trace = statement
        await clock.advance(minutes=30)
        connection.exec_trace = None
    assert len(copies) > 5

    seen = set()
    for copy in copies:
        found = SqliteStore(copy)
        row, rows = found.cron("s"), found.executions(ExecutionFilter())
        assert row is not None
        assert [one.id for one in rows] == ([row.newest] if row.newest else [])
        assert row.made == len(rows)
        seen.add(len(rows))
        found.close()
        clock = MovableClock(datetime(2026, 11, 23, 10, tzinfo=UTC))
        async with serving(copy, clock) as engine:
            await engine.settle()
            assert made(engine) == ["10:00:00Z"]
    assert 0 in seen


@looped
async def test_an_execution_of_that_name_stays_as_it_is(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, id="s")
        await engine.submit(quick, 9, id="s@2026-11-23T10:00:00Z")
        await clock.advance(hours=2)

        assert made(engine) == ["10:00:00Z", "11:00:00Z"]
        with pytest.raises(ExecutionExists):
            await engine.submit(quick, 9, id="s@2026-11-23T11:00:00Z")


@looped
async def test_a_zone_that_is_not_known_here_stops_nothing_else(
    db: Path, clock: MovableClock
) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, timezone="Europe/Berlin", id="s")
        await engine.schedule(quick, 1, cron=HOURLY, id="t")
    store = SqliteStore(db)
    row = store.cron("s")
    assert row is not None
    spec = row.spec.replace("Europe/Berlin", "Mars/Olympus")
    store._connection.execute("UPDATE cron SET spec = ? WHERE id = 's'", (spec,))
    store.close()

    async with serving(db, clock) as engine:
        await clock.advance(hours=1)
        assert [found.id[0] for found in engine.list()] == ["t"]


@looped
async def test_an_idle_schedule_writes_nothing(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        schedule = await engine.schedule(quick, 1, cron="0 0 1 1 *", id="s")
        before = engine.commits
        await clock.advance(days=30)
        assert isinstance(schedule, Schedule)

        assert engine.commits == before


@looped
async def test_many_schedules_at_one_moment(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock) as engine:
        for n in range(100):
            await engine.schedule(quick, n, cron=HOURLY, id=f"s{n}")
        before, begun = engine.commits, time.monotonic()
        await clock.advance(hours=1)

        assert len(engine.list(limit=1000)) == 100
        assert engine.commits - before < 20
        assert time.monotonic() - begun < 10
        assert {row.state for row in engine.list(limit=1000)} == {State.FINISHED}
