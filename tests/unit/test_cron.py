"""Slots of schedules, and the one decision about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from obelisk_ops.core import cron, ids
from obelisk_ops.core.clock import iso
from obelisk_ops.core.cron import BATCH, Plan, Spec, Standing
from obelisk_ops.errors import InvalidInput

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(text: str) -> int:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def spec(expression: str = "", **facts: Any) -> Spec:
    return Spec(fn="m.f", input=Raw(b"[]"), cron=expression, **facts)


NIGHTLY = spec("0 3 * * *")


def slots(wanted: Spec, after: str, count: int = 4) -> list[str]:
    found = islice(cron.slots_after(wanted, at(after)), count)
    return [iso(slot).removesuffix(":00.000Z") for slot in found]


BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
NAMED = [
    ("daily", "0 3 * * *", "UTC", "2026-11-23T03:00Z", "24T03:00 25T03:00"),
    ("just before", "0 3 * * *", "UTC", "2026-11-23T02:59:59.999+00:00", "23T03:00 24T03:00"),
    ("in a zone", "0 3 * * *", BERLIN, "2026-11-23T00:00Z", "23T02:00 24T02:00"),
    ("in summer", "0 3 * * *", BERLIN, "2026-07-23T00:00Z", "23T01:00 24T01:00"),
    ("half an hour off", "0 0 * * *", "Asia/Kolkata", "2026-11-23T00:00Z", "23T18:30"),
    # Europe/Berlin leaves out 02:00 to 03:00 on 2026-03-29 …
    ("gap", "30 2 * * *", BERLIN, "2026-03-27T12:00Z", "28T01:30 29T01:00 30T00:30"),
    ("gap, once", "0 2,3 * * *", BERLIN, "2026-03-29T00:00Z", "29T01:00 30T00:00 30T01:00"),
    ("gap, hourly", "0 * * * *", BERLIN, "2026-03-28T23:30Z", "29T00:00 29T01:00 29T02:00"),
    ("gap, minutes", "*/30 2 * * *", BERLIN, "2026-03-28T02:00Z", "30T00:00 30T00:30"),
    # … and has it twice on 2026-10-25.
    ("fold", "30 2 * * *", BERLIN, "2026-10-24T12:00Z", "25T00:30 26T01:30"),
    ("fold, inside", "30 2 * * *", BERLIN, "2026-10-25T00:40Z", "26T01:30"),
    ("fold, second", "30 2 * * *", BERLIN, "2026-10-25T01:15Z", "26T01:30"),
    ("fold, hourly", "0 * * * *", BERLIN, "2026-10-24T23:30Z", "25T00:00 25T01:00 25T02:00"),
    ("midnight left out", "0 0 * * *", "Africa/Cairo", "2026-04-23T00:00Z",
     "23T22:00 24T21:00"),
    ("half an hour left out", "15 2 * * *", LORD_HOWE, "2026-10-03T00:00Z",
     "03T15:30 04T15:15"),
    ("every quarter", "*/15 * * * *", "UTC", "2026-11-23T23:40Z", "23T23:45 24T00:00"),
    ("either day", "0 0 1 * 1", "UTC", "2026-11-28T00:00Z", "30T00:00 01T00:00 07T00:00"),
    ("both days", "0 0 */2 * 1", "UTC", "2026-11-24T00:00Z", "07T00:00 21T00:00"),
    ("names", "0 9 * dec mon-fri", "UTC", "2026-12-04T10:00Z", "07T09:00 08T09:00"),
    ("last day", "0 0 L * *", "UTC", "2028-02-01T00:00Z", "29T00:00 31T00:00"),
]  # fmt: skip


@pytest.mark.behaviour("P53")
@pytest.mark.parametrize(
    ("expression", "zone", "after", "named"), [c[1:] for c in NAMED], ids=[c[0] for c in NAMED]
)
def test_slots(expression: str, zone: str, after: str, named: str) -> None:
    wanted = named.split()

    found = slots(spec(expression, timezone=zone), after, len(wanted))

    assert [slot[8:] for slot in found] == wanted


def test_leap_days() -> None:
    found = slots(spec("0 0 29 2 *"), "2026-11-23T00:00Z", 3)

    assert [slot[:10] for slot in found] == ["2028-02-29", "2032-02-29", "2036-02-29"]


def test_an_interval_counts_from_the_epoch() -> None:
    quarter = spec(every=15 * MINUTE)

    assert slots(quarter, "2026-11-23T10:07Z", 2) == ["2026-11-23T10:15", "2026-11-23T10:30"]
    assert cron.next_slot(quarter, at("2026-11-23T10:15Z")) == at("2026-11-23T10:30Z")


EXPRESSIONS = st.sampled_from(
    [
        "* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0 2,3 * * *", "*/20 1-3 * * *",
        "59 23 * * 0", "0 0 1 * *", "15 2 L * *", "0 0 29 2 *", "30 1,2,3 * * sun",
    ]
)  # fmt: skip
ZONES = st.sampled_from(
    [BERLIN, LORD_HOWE, "UTC", "America/New_York", "Africa/Cairo", "Asia/Kathmandu"]
)
#: about when clocks are changed
CHANGES = st.sampled_from(
    [
        "2026-03-08T06:30Z", "2026-03-29T00:30Z", "2026-04-04T14:40Z", "2026-04-23T21:50Z",
        "2026-10-03T15:10Z", "2026-10-25T00:20Z", "2026-10-29T20:45Z", "2026-11-01T05:10Z",
    ]
)  # fmt: skip
OFFSETS = st.integers(-2 * DAY, 2 * DAY)
MOMENTS = st.builds(lambda text, offset: at(text) + offset, CHANGES, OFFSETS)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS, st.integers(0, 3 * DAY))
def test_slots_are_the_same_wherever_one_begins(
    expression: str, zone: str, begin: int, ahead: int
) -> None:
    """An engine that starts anew in the middle of an hour that comes twice names the same."""
    wanted = spec(expression, timezone=zone)
    later = begin + ahead

    from_begin = [
        s for s in cron.slots_after(wanted, begin, until=later + 2 * DAY) if s > later
    ]

    assert list(cron.slots_after(wanted, later, until=later + 2 * DAY)) == from_begin
    up_to = list(cron.slots_after(wanted, begin, until=later))
    assert cron.newest_slot(wanted, begin, later) == (up_to[-1] if up_to else None)
    assert up_to == sorted(set(up_to))


NOW = at("2026-11-23T12:00Z")


def plan(wanted: Spec, last: int, now: int = NOW, **standing: Any) -> Plan:
    return cron.decide(wanted, Standing(last=last, **standing), now)


def hours(found: tuple[int, ...]) -> list[float]:
    return [(slot - NOW) / HOUR for slot in found]


def test_nothing_is_due() -> None:
    found = plan(spec("0 * * * *"), NOW - 1, NOW - 1)

    assert found == Plan(last=NOW - 1, due=NOW, look_at=NOW)


def test_a_slot_is_due_at_its_moment() -> None:
    found = plan(spec("0 * * * *"), NOW - 1)

    assert found.start == (NOW,)
    assert (found.last, found.due, found.look_at) == (NOW, NOW + HOUR, NOW + HOUR)
    assert not found.missed
    assert plan(spec("0 * * * *"), found.last).start == ()


#: policy -> slots that are made after an outage of five hours, in hours from now
OUTAGE = [
    ("one", 0, [0]),
    ("one", 20 * MINUTE, [0]),
    ("all", 0, [-4, -3, -2, -1, 0]),
    ("all", 20 * MINUTE, [-4, -3, -2, -1, 0]),
    ("none", 5_000, [0]),
    ("none", 20 * MINUTE, []),
    (2 * HOUR, 5_000, [-1, 0]),
    (2 * HOUR, 0, [-2, -1, 0]),
    (2 * HOUR, 20 * MINUTE, [-1, 0]),
    (10 * MINUTE, 20 * MINUTE, []),
    (10 * MINUTE, 5 * MINUTE, [0]),
    (0, 5_000, [0]),
    (0, 20_000, []),
    (30 * DAY, 0, [-4, -3, -2, -1, 0]),
]


@pytest.mark.parametrize(("catch_up", "late", "made"), OUTAGE)
def test_after_an_outage(catch_up: str | int, late: int, made: list[float]) -> None:
    hourly = spec("0 * * * *", overlap="allow", catch_up=catch_up)

    found = plan(hourly, NOW - 5 * HOUR, NOW + late)

    assert hours(found.start) == made
    assert found.last == NOW
    assert found.due == NOW + HOUR
    assert found.missed is (made != [-4, -3, -2, -1, 0])


def test_a_long_outage_is_made_up_for_in_parts() -> None:
    minutely = spec("* * * * *", overlap="allow", catch_up="all")
    last, made = NOW - 3 * DAY, 0
    for _ in range(100):
        found = plan(minutely, last)
        assert len(found.start) <= BATCH
        made, last = made + len(found.start), found.last
        if found.look_at is None or found.look_at > NOW:
            break

    assert made == 3 * DAY // MINUTE
    assert last == NOW


def test_years_of_silence_are_no_work() -> None:
    found = plan(spec("* * * * *", overlap="allow"), 0)

    assert found.start == (NOW,)
    assert found.missed


#: overlap, standing -> started, waiting, skipped (hours from now), cancels
OVERLAPS: list[tuple[str, dict[str, Any], list[int], int | None, int, bool]] = [
    ("skip", {}, [-2], None, 2, False),
    ("skip", {"running": 1}, [], None, 3, False),
    ("skip", {"waiting": -3}, [-3], None, 3, False),
    ("skip", {"waiting": -3, "running": 1}, [], -3, 3, False),
    ("allow", {"running": 9}, [-2, -1, 0], None, 0, False),
    ("allow", {"running": 9, "waiting": -3}, [-3, -2, -1, 0], None, 0, False),
    ("buffer_one", {}, [-2], -1, 1, False),
    ("buffer_one", {"running": 1}, [], -2, 2, False),
    ("buffer_one", {"running": 1, "waiting": -3}, [], -3, 3, False),
    ("buffer_one", {"waiting": -3}, [-3], -2, 2, False),
    ("cancel_other", {}, [0], None, 2, False),
    ("cancel_other", {"running": 1}, [], 0, 2, True),
    ("cancel_other", {"running": 1, "waiting": -3}, [], 0, 3, True),
    ("cancel_other", {"waiting": -3}, [0], None, 3, False),
]


@pytest.mark.parametrize(
    ("overlap", "standing", "start", "waiting", "skipped", "cancels"), OVERLAPS
)
def test_overlap(
    overlap: str,
    standing: dict[str, Any],
    start: list[int],
    waiting: int | None,
    skipped: int,
    *,
    cancels: bool,
) -> None:
    hourly = spec("0 * * * *", overlap=overlap, catch_up="all")
    if "waiting" in standing:
        standing = standing | {"waiting": NOW + standing["waiting"] * HOUR}

    found = plan(hourly, NOW - 3 * HOUR, **standing)

    assert hours(found.start) == start
    assert found.waiting == (None if waiting is None else NOW + waiting * HOUR)
    assert (found.skipped, found.cancel_running) == (skipped, cancels)
    assert found.last == NOW


@pytest.mark.parametrize("overlap", cron.OVERLAPS)
def test_what_waits_starts_when_what_runs_has_ended(overlap: str) -> None:
    found = plan(spec("0 * * * *", overlap=overlap), NOW, waiting=NOW)

    assert found.start == (NOW,)
    assert found.waiting is None


def test_while_paused_nothing_starts() -> None:
    found = plan(
        spec("0 * * * *", catch_up="all"), NOW - DAY, waiting=NOW - DAY, is_paused=True
    )

    assert (found.start, found.waiting, found.last) == ((), NOW - DAY, NOW - DAY)
    assert (found.due, found.look_at) == (NOW + HOUR, None)


def test_a_clock_that_is_set_back_repeats_nothing() -> None:
    hourly = spec("0 * * * *", catch_up="all")
    last = plan(hourly, NOW - 1).last

    found = plan(hourly, last, NOW - 40 * MINUTE)

    assert (found.start, found.last, found.due) == ((), NOW, NOW + HOUR)


def test_a_clock_that_was_years_ahead_does_not_stop_the_schedule() -> None:
    hourly = spec("0 * * * *", catch_up="all")

    found = plan(hourly, NOW + 400 * DAY)

    assert (found.start, found.last, found.due) == ((), NOW, NOW + HOUR)
    assert plan(hourly, found.last, NOW + HOUR).start == (NOW + HOUR,)


def test_a_clock_that_is_set_forth_is_an_outage() -> None:
    assert hours(plan(NIGHTLY, NOW, NOW + 9 * DAY).start) == [8 * 24 + 15]


GOOD = [
    ({"cron": "  0 3  * * * "}, "0 3 * * *"),
    ({"cron": "@daily"}, "0 0 * * *"),
    ({"cron": "@Hourly"}, "0 * * * *"),
    ({"cron": "0 3 * * *", "timezone": "America/New_York", "catch_up": 5}, "0 3 * * *"),
    ({"every": 1000}, ""),
]


@pytest.mark.parametrize(("facts", "written"), GOOD)
def test_a_schedule_is_written_in_one_way(facts: dict[str, Any], written: str) -> None:
    assert cron.checked(Spec(fn="f", input=Raw(b"[]"), **facts), NOW).cron == written


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "either cron= or every=", "0 3"),
    ({"cron": "0 3 * * *", "every": 5}, "either cron= or every=", "0 3"),
    ({"cron": "0 0 3 * * *"}, "six fields; seconds are not supported", "every=timedelta"),
    ({"cron": "0 3 * *"}, "has 4 fields", "minute hour"),
    ({"cron": "60 3 * * *"}, "Bad minute", "minute hour"),
    ({"cron": "0 24 * * *"}, "Bad hour", "minute hour"),
    ({"cron": "0 0 30 2 *"}, "Bad day-of-month", "minute hour"),
    ({"cron": "0 0 * * mon-"}, "Bad day-of-week", "minute hour"),
    ({"cron": "*/0 * * * *"}, "Bad minute", "minute hour"),
    ({"cron": "@reboot"}, "is not known", "@daily"),
    ({"cron": "at three"}, "has 2 fields", "minute hour"),
    ({"cron": "0 0 29 2 *", "overlap": "queue"}, "overlap='queue'", "buffer_one"),
    ({"cron": "0 3 * * *", "catch_up": "some"}, "catch_up='some'", "timedelta"),
    ({"cron": "0 3 * * *", "timezone": "Berlin"}, "'Berlin' is no time zone", "Europe/Berlin"),
    ({"cron": "0 3 * * *", "timezone": "../etc"}, "is no time zone", "Europe/Berlin"),
    ({"cron": "0 3 * * *", "timezone": ""}, "is no time zone", "Europe/Berlin"),
    ({"every": 5000, "timezone": BERLIN}, "every= takes no timezone", "cron="),
]


@pytest.mark.parametrize(("facts", "said", "hint"), WRONG, ids=str)
def test_what_makes_no_sense_is_refused(facts: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cron.checked(Spec(fn="f", input=Raw(b"[]"), **facts), NOW)

    assert said in caught.value.message
    assert hint in caught.value.hint


@settings(max_examples=300, deadline=None)
@given(
    st.text("0123456789*/,-#LWlw? @amonfrij", max_size=20), st.lists(st.just("*"), max_size=4)
)
def test_any_text_is_a_schedule_or_refused(start: str, rest: list[str]) -> None:
    try:
        found = cron.checked(spec(" ".join([start, *rest])), NOW)
    except InvalidInput:
        return
    assert cron.next_slot(found, NOW) is not None


def test_ids_of_executions() -> None:
    slot = at("2026-11-23T03:00Z")

    assert cron.slot_id("nightly", slot) == "nightly@2026-11-23T03:00:00Z"
    assert cron.slot_id("nightly", slot + 250) == "nightly@2026-11-23T03:00:00.250Z"
    assert ids.checked(cron.slot_id("nightly", slot))
