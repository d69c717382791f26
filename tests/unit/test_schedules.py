"""What comes of a request for a schedule."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from msgspec import Raw

from obelisk_ops.core import schedules
from obelisk_ops.core.cron import Spec
from obelisk_ops.core.rows import CronRow
from obelisk_ops.core.schedules import Request, applied
from obelisk_ops.errors import InvalidInput, ScheduleExists

HOUR = 3_600_000
HOURLY = Spec(fn="m.f", input=Raw(b'[1, {"a": 2}]'), cron="0 * * * *")


def other(**facts: Any) -> Spec:
    return msgspec.structs.replace(HOURLY, **facts)


def do(
    what: Literal["put", "pause", "unpause", "delete"],
    row: CronRow | None,
    now_ms: int = 10 * HOUR + 1,
    **facts: Any,
) -> CronRow | None:
    if what == "put":
        facts = {"spec": HOURLY} | facts
    return applied("nightly", row, Request(do=what, **facts), now_ms)


def known(**facts: Any) -> CronRow:
    row = do("put", None, 1)
    assert row is not None
    return CronRow(**{name: getattr(row, name) for name in row.__slots__} | facts)


def test_a_new_one_begins_with_its_next_slot() -> None:
    row = do("put", None, paused=True)

    assert row is not None
    assert (row.last, row.due, row.paused) == (10 * HOUR + 1, 11 * HOUR, True)
    assert schedules.decode_spec(row) == HOURLY


def test_the_same_one_stays_as_it_is() -> None:
    row = known(paused=True, last=7, waiting=6, running=("a",), made=3)

    assert do("put", row) is row
    assert do("put", row, spec=other(input=Raw(b'[1,{"a":2}]'))) is row
    assert do("put", row, replace=True) is row


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"fn": "m.g"}, "has function 'm.f', not 'm.g'"),
        ({"input": Raw(b"[2]")}, "has arguments [1, {'a': 2}], not [2]"),
        ({"cron": "1 * * * *"}, "has cron '0 * * * *', not '1 * * * *'"),
        ({"timezone": "Europe/Berlin"}, "has timezone 'UTC', not 'Europe/Berlin'"),
        ({"overlap": "allow"}, "has overlap 'skip', not 'allow'"),
        ({"catch_up": 5}, "has catch_up 'one', not 5"),
    ],
)
def test_another_one_is_refused_or_takes_its_place(facts: dict[str, Any], said: str) -> None:
    row = known(paused=True, waiting=6, running=("a",), made=3)

    with pytest.raises(ScheduleExists) as caught:
        do("put", row, spec=other(**facts))
    changed = do("put", row, spec=other(**facts), replace=True)

    assert said in caught.value.message
    assert changed is not None
    assert schedules.decode_spec(changed) == other(**facts)
    assert (changed.paused, changed.waiting, changed.running, changed.made) == (
        True, 6, ("a",), 3,
    )  # fmt: skip


def test_what_follows_the_code_is_no_conflict() -> None:
    row = do("put", known(), spec=other(timeout=5))

    assert row is not None
    assert schedules.decode_spec(row).timeout == 5
    assert (row.last, row.due) == (1, HOUR)


@pytest.mark.behaviour("O56")
def test_changing_it_there_and_back_makes_nothing_due() -> None:
    row = do("put", known(), spec=other(cron="* * * * *"), replace=True)
    row = do("put", row, 12 * HOUR + 1, replace=True)

    assert row is not None
    assert (row.last, row.due) == (12 * HOUR + 1, 13 * HOUR)


def test_what_was_due_while_it_was_paused_is_over() -> None:
    paused = do("pause", known())
    assert paused is not None
    assert (paused.paused, paused.last) == (True, 1)

    row = do("unpause", paused)

    assert row is not None
    assert (row.paused, row.last, row.due) == (False, 10 * HOUR + 1, 11 * HOUR)
    assert do("unpause", row, 99 * HOUR) is row


def test_a_deleted_one_is_gone() -> None:
    assert do("delete", known()) is None
    assert do("delete", None) is None


def test_one_that_a_later_version_wrote_is_told_apart() -> None:
    row = known(spec='{"fn": 7}')

    with pytest.raises(ScheduleExists, match="a later version"):
        do("put", row)


@pytest.mark.parametrize("name", ["nightly", "a.b:c_d+e=f-g", "x" * 160])
def test_ids(name: str) -> None:
    assert schedules.checked_id(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a@b", "x" * 161, "-a", "ä"])
def test_ids_that_are_none(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the id of a schedule"):
        schedules.checked_id(name)
