"""Schedules in an engine: slots become executions, once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk_ops import Engine
from obelisk_ops.core import events
from obelisk_ops.durable.unattended import answer_letters
from obelisk_ops.errors import (
    InvalidInput,
    ScheduleExists,
    ScheduleNotFound,
    WorkflowMisuse,
)
from obelisk_ops.testing import MovableClock
from tests.engines import looped, until
from tests.scheduled import (
    BEGIN,
    HOURLY,
    asking,
    made,
    patient,
    quick,
    serving,
    slow,
    two_parts,
)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(BEGIN)


@pytest.mark.behaviour("O56")
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
        # A busy machine may hold some of them up: one has to be in time.
        await until(lambda: any(row.created_at % 1000 < 50 for row in engine.list()), "in time")


@pytest.mark.behaviour("P53")
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


@pytest.mark.behaviour("O56", "P53")
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
