"""What every store promises about schedules, and every mailbox about letters for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from obelisk_ops.core import schedules
from obelisk_ops.core.cron import Spec
from obelisk_ops.core.ports import LogStore, Mailbox, State, StateRow, Write
from obelisk_ops.core.rows import CronRow
from obelisk_ops.core.schedules import Request
from obelisk_ops.errors import ScheduleExists, ScheduleNotFound

HOURLY = Spec(fn="m.f", input=Raw(b"[1]"), cron="0 * * * *")
HOUR = 3_600_000


def row(name: str = "nightly", **facts: Any) -> CronRow:
    text = msgspec.json.encode(HOURLY).decode()
    given: dict[str, Any] = {"spec": text, "last": 5} | facts
    return CronRow(id=name, **given)


def ask(
    mailbox: Mailbox, do: str, *, name: str = "nightly", now_ms: int = 5, **facts: Any
) -> bool:
    request = msgspec.convert({"do": do}, Request)
    body = msgspec.json.encode(msgspec.structs.replace(request, **facts)).decode()
    return mailbox.ask(schedules.KIND, name, body, now_ms=now_ms)


def test_schedules_are_kept(store: LogStore) -> None:
    assert store.crons() == []
    assert store.cron("nightly") is None
    whole = row(
        paused=True,
        last=7,
        due=8,
        waiting=6,
        running=("a", "b/1"),
        newest="b/1",
        made=3,
        skipped=4,
    )

    store.commit([Write(0, [], crons=[row("weekly"), whole])])

    assert store.cron("nightly") == whole
    assert [found.id for found in store.crons()] == ["nightly", "weekly"]


def test_a_later_row_replaces_an_earlier_one(store: LogStore) -> None:
    store.commit([Write(0, [], crons=[row(due=1, waiting=2, running=("a",))])])

    store.commit([Write(0, [], crons=[row(last=6)]), Write(0, [], crons=[row(last=7)])])

    assert store.crons() == [row(last=7)]


def test_a_schedule_is_deleted_once(store: LogStore) -> None:
    store.commit([Write(0, [], crons=[row(), row("weekly")])])

    for _ in range(2):
        assert store.commit([Write(0, [], crons_gone=["nightly"])]) == {}

    assert [found.id for found in store.crons()] == ["weekly"]


def test_an_execution_and_the_slot_it_came_of_are_one(store: LogStore) -> None:
    taken = StateRow(key=1, id="a", function="m.f", state=State.RUNNING, created_at=1)
    first = (1, 0, 5, "created", "{}")
    store.commit([Write(1, [first], created=[taken], crons=[row()])])

    refused = store.commit([Write(1, [first], crons=[row(last=99)])])

    assert list(refused) == [0]
    assert store.crons() == [row()]


def test_a_schedule_is_asked_for_once(mailbox: Mailbox) -> None:
    assert ask(mailbox, "put", spec=HOURLY) is True
    assert ask(mailbox, "put", spec=HOURLY, now_ms=99) is False

    [letter] = mailbox.letters(10)
    assert (letter.kind, letter.target, letter.at) == ("schedule", "nightly", 5)


@pytest.mark.parametrize("answered", [False, True])
def test_another_one_of_the_same_id_is_a_conflict(
    store: LogStore, mailbox: Mailbox, *, answered: bool
) -> None:
    if answered:
        store.commit([Write(0, [], crons=[row()])])
    else:
        ask(mailbox, "put", spec=HOURLY)
    other = msgspec.structs.replace(HOURLY, cron="5 * * * *")

    with pytest.raises(ScheduleExists, match=r"has cron '0 \* \* \* \*', not '5 \* \* \* \*'"):
        ask(mailbox, "put", spec=other)

    assert ask(mailbox, "put", spec=other, replace=True) is True
    with pytest.raises(ScheduleExists):
        ask(mailbox, "put", spec=HOURLY)


@pytest.mark.parametrize("do", ["pause", "unpause"])
def test_what_does_not_exist_cannot_be_managed(mailbox: Mailbox, do: str) -> None:
    with pytest.raises(ScheduleNotFound, match="no schedule 'nightly'"):
        ask(mailbox, do)


def test_a_request_that_changes_nothing_is_no_letter(store: LogStore, mailbox: Mailbox) -> None:
    store.commit([Write(0, [], crons=[row()])])

    assert ask(mailbox, "unpause") is False
    assert ask(mailbox, "pause") is True
    assert ask(mailbox, "pause") is False
    assert ask(mailbox, "unpause") is True
    assert ask(mailbox, "delete") is True
    assert ask(mailbox, "delete") is False
    assert ask(mailbox, "put", spec=HOURLY) is True


def test_schedules_and_executions_may_have_one_name(store: LogStore, mailbox: Mailbox) -> None:
    ask(mailbox, "put", spec=HOURLY, name="a")
    body = '{"fn":"m.f","in":[]}'

    assert mailbox.ask("create", "a", body, now_ms=1) is True
    assert ask(mailbox, "pause", name="a") is True
    assert mailbox.ask("pause", "a", "{}", now_ms=1) is True
    assert len(store.letters(9)) == 4
