"""A death at any moment, or a strange clock: a slot is made once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Schedule
from obelisk_ops.core.ports import ExecutionFilter, State
from obelisk_ops.errors import (
    ExecutionExists,
)
from obelisk_ops.storage.sqlite.store import SqliteStore
from obelisk_ops.testing import MovableClock
from tests.engines import crash, looped
from tests.scheduled import (
    BEGIN,
    HOURLY,
    asking,
    go_on,
    made,
    patient,
    quick,
    serving,
    slow,
    stubborn,
)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(BEGIN)


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


ALL_FIVE = [f"{hour}:00:00Z" for hour in range(10, 15)]
AFTER_FIVE_HOURS = {
    "skip": ["10:00:00Z", "12:00:00Z", "14:00:00Z"],
    "allow": ALL_FIVE,
    "buffer_one": ["10:00:00Z", "11:00:00Z", "12:00:00Z", "13:00:00Z"],
    "cancel_other": ALL_FIVE,
}


@pytest.mark.behaviour("O56", "P53")
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


@pytest.mark.behaviour("O56")
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


@pytest.mark.parametrize("how", ["pause", "delete"])
@looped
async def test_what_was_asked_for_meanwhile_comes_first(
    db: Path, clock: MovableClock, how: str
) -> None:
    async with serving(db, clock) as engine:
        await engine.schedule(quick, 1, cron=HOURLY, id="s")
    async with asking(db, clock) as other:
        await getattr(other.schedule_handle("s"), how)()
    await clock.jump(timedelta(hours=3))

    async with serving(db, clock) as engine:
        await engine.settle()
        assert made(engine) == []


@pytest.mark.parametrize("before", [True, False])
@looped
async def test_requests_survive_deaths(db: Path, clock: MovableClock, *, before: bool) -> None:
    async with serving(db, clock) as engine:
        die = engine.crash_before if before else engine.crash_after
        die()
        schedule = await engine.schedule(quick, 1, cron=HOURLY, id="s")
        die()
        await schedule.pause()
        await clock.advance(hours=1)
        assert (made(engine), schedule.status().paused) == ([], True)
        die()
        await schedule.unpause()
        await clock.advance(hours=1)
        assert made(engine) == ["11:00:00Z"]
        die()
        await schedule.delete()
        await engine.settle()
        assert (engine.schedules(), engine.crashes) == ([], 4)


@looped
async def test_what_cannot_be_cancelled_is_waited_for(db: Path, clock: MovableClock) -> None:
    async with serving(db, clock, workflows=[stubborn]) as engine:
        await engine.schedule(stubborn, cron=HOURLY, overlap="cancel_other", id="s")
        await clock.advance(hours=3)
        assert made(engine) == ["10:00:00Z", "11:00:00Z"]
        assert [row.result for row in engine.list()] == ["ok", None]


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
        before = engine.commits
        await clock.advance(hours=1)

        assert len(engine.list(limit=1000)) == 100
        assert engine.commits - before < 20
        assert {row.state for row in engine.list(limit=1000)} == {State.FINISHED}
