"""Replay: the same code goes on, other code is told where it differs, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from obelisk_ops import (
    WorkflowMisuse,
    activity,
    execution_id,
    gather,
    join_set,
    now,
    random,
    sleep,
    uuid4,
    workflow,
)
from obelisk_ops.core import events
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.errors import ActivityFailed, Nondeterminism
from tests.driving import Code, Recorder, failed, live, machine_for, ok, outcome, replayed


@activity
def act(value: int = 0) -> int:
    return value


@activity
def other(value: int = 0) -> int:
    return value


@workflow
async def child(value: int = 0) -> int:
    return value


async def two_acts_and_a_pause() -> int:
    first = await act(1)
    await sleep(60)
    return first + await act(2)


STORY = (ok(1, 10), events.TimerFired(n=2, seq=1), ok(3, 5))


def test_code_runs_from_answer_to_answer() -> None:
    machine, log = live(two_acts_and_a_pause, *STORY)

    assert outcome(machine) == 15
    assert [event.kind for event in log] == [
        "created", "intended", "returned", "timer_set", "timer_fired", "intended", "returned",
        "finished",
    ]  # fmt: skip


@pytest.mark.parametrize("length", [2, 4, 6])
def test_a_replay_of_what_a_turn_left_writes_nothing(length: int) -> None:
    _, log = live(two_acts_and_a_pause, *STORY)

    assert replayed(two_acts_and_a_pause, log[:length])[1] == log[:length]


async def other_function() -> None:
    await other(1)
    await sleep(60)
    await act(2)


async def other_input() -> None:
    await act(1)
    await sleep(60)
    await act(3)


async def other_order() -> None:
    await sleep(60)
    await act(1)
    await act(2)


async def other_duration() -> None:
    await act(1)
    await sleep(61)


async def ends_early() -> None:
    await act(1)


async def one_call_more() -> None:
    await act(1)
    async with join_set() as calls:
        calls.submit(act, 2)
        await sleep(60)


async def in_a_set() -> None:
    async with join_set("s") as calls:
        calls.submit(act, 1)
        await calls.next()


async def a_child_instead() -> None:
    await child(1)


async def waits_for_less() -> None:
    async with join_set() as calls:
        calls.submit(act, 1)
        await sleep(60)


async def swallows(also: type[BaseException] = Exception) -> None:
    try:
        await other(1)
    except also:
        await act(1)


CHANGES: list[tuple[Code, str, str]] = [
    (other_function, "version 1 .*act\\(1\\)", "asks for call 1, activity .*other\\(1\\)"),
    (other_input, "version 5 .*act\\(2\\)", "asks for call 3, activity .*act\\(3\\)"),
    (other_order, "version 1 .*act\\(1\\)", "asks for call 1, sleep of 60 s"),
    (other_duration, "version 3 .* sleep of 60 s", "asks for call 2, sleep of 61 s"),
    (ends_early, "version 3 .* sleep of 60 s", "asks for the end of the workflow"),
    (one_call_more, "version 3 .* sleep of 60 s", "asks for call 2, activity .*act\\(2\\)"),
    (in_a_set, "version 1 .*act\\(1\\)", "asks for call 1, activity .*act\\(1\\)"),
    (a_child_instead, "version 1 .*act\\(1\\)", "asks for .* child workflow .*child\\(1\\)"),
    (swallows, "version 1 .*act\\(1\\)", "asks for call 1, activity .*other\\(1\\)"),
    (lambda: swallows(BaseException), "version 1 .*act\\(1\\)", "asks for .*other\\(1\\)"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "recorded", "asked"), CHANGES)
@pytest.mark.behaviour("O39", "O40", "P13", "P14")
def test_changed_code_is_told_where_it_differs(code: Code, recorded: str, asked: str) -> None:
    _, log = live(two_acts_and_a_pause, *STORY)
    host = Recorder(log)

    async def changed() -> Any:
        return await code()

    changed.__annotations__ = {}
    with pytest.raises(Nondeterminism, match=f"{recorded}.* but the code {asked}"):
        machine_for(changed, host).replay(log[1:], {1: InboxItem("timer", 1, 0, "{}")})
    assert host.log == log


def test_code_that_waits_where_it_went_on_before_is_told() -> None:
    async def submits_two() -> None:
        async with join_set("s") as calls:
            calls.submit(act, 1)
            calls.submit(act, 2)
            await calls.next()

    async def submits_one() -> None:
        async with join_set("s") as calls:
            calls.submit(act, 1)
            await calls.next()

    _, log = live(submits_two)

    with pytest.raises(
        Nondeterminism, match=r"act\(2\).*, but the code waits for something else"
    ):
        replayed(submits_one, log)


def test_code_may_ask_for_more_where_the_log_ends() -> None:
    """Also twice: what happened meanwhile (an attempt, a stop) lies between its commands."""

    async def before() -> None:
        async with join_set("s") as calls:
            calls.submit(act, 1)
            await calls.next()

    async def after() -> None:
        async with join_set("s") as calls:
            calls.submit(act, 1)
            calls.submit(act, 2)
            await calls.next()

    _, log = live(before)
    meanwhile = Recorder(log)
    meanwhile.append(events.AttemptStarted(n=1, attempt=2))
    meanwhile.append(events.Parked(error=events.Failure(type="N", message="")))

    machine, extended = replayed(after, meanwhile.log)

    assert [event.kind for event in extended[-2:]] == ["parked", "intended"]
    assert machine.pending[2].attempt == 1
    again, same = replayed(after, extended)
    assert same == extended
    assert again.pending[1].attempt == 2


@pytest.mark.behaviour("P18")
def test_an_instant_and_chance_are_the_same_on_replay() -> None:
    seen: list[object] = []

    async def code() -> None:
        seen.append((now(), random().random(), uuid4(), execution_id()))
        await act()
        seen.append((now(), random().randint(1, 6), uuid4(), execution_id()))

    _, log = live(code, ok(1))
    first, seen[:] = list(seen), []
    replayed(code, log[:-1])

    assert seen == first
    assert seen[1][0] == datetime.fromtimestamp(2, tz=UTC)  # type: ignore[index]


def test_an_error_is_raised_where_it_is_awaited() -> None:
    async def code() -> str:
        try:
            await act()
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    machine, log = live(code, failed(1))

    assert outcome(machine) == "caught no"
    assert replayed(code, log[:-1])[1][-1].kind == "finished"


def test_an_error_of_a_class_that_is_not_loaded_is_an_activity_failure() -> None:
    async def code() -> str:
        try:
            await act()
        except ActivityFailed as error:
            return error.error_type
        return "nothing"

    assert outcome(live(code, failed(1, "shop.Declined"))[0]) == "shop.Declined"


async def two_that_watch_each_other() -> list[str]:
    seen: list[str] = []

    async def walk(name: str) -> None:
        for step in range(2):
            seen.append(f"{name} asks {step}")
            await act(step)
            seen.append(f"{name} was told {step}")

    await gather(walk("a"), walk("b"))
    await act(9)
    return seen


def test_code_beside_other_code_runs_in_the_same_order_on_replay() -> None:
    story = (ok(1), ok(3), ok(2), ok(4), ok(5))
    machine, log = live(two_that_watch_each_other, *story)

    again, after = replayed(two_that_watch_each_other, log)

    assert outcome(again) == outcome(machine)
    assert after == log


def test_input_that_is_written_in_another_way_still_fits() -> None:
    _, log = live(two_acts_and_a_pause, *STORY)
    spaced = [
        Event(e.version, e.at, e.kind, e.body.replace('"in":[1]', '"in": [ 1 ]')) for e in log
    ]

    assert spaced != log
    assert outcome(replayed(two_acts_and_a_pause, spaced)[0]) == 15


def test_a_call_that_is_told_again_leaves_the_same_traces_as_one_that_was_told() -> None:
    async def code() -> list[str]:
        times = [now().isoformat()]
        try:
            await act(1)
            times.append(now().isoformat())
            await act(2)
        except ValueError:
            times.append("failed")
        call = act(3)
        await call
        with pytest.raises(WorkflowMisuse):
            await call
        return times

    machine, log = live(code, ok(1), failed(2), ok(3))

    assert outcome(replayed(code, log)[0]) == outcome(machine)
