"""What workflow code may do, and what it is told when it may not."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from obelisk_ops import activity, execution_id, join_set, now, random, sleep, uuid4, workflow
from obelisk_ops.core import events
from obelisk_ops.errors import Nondeterminism, WorkflowMisuse
from tests.driving import Code, failed, live, ok, outcome, replayed


@activity
def act(value: int = 0) -> int:
    return value


@workflow
async def child(value: int = 0) -> int:
    return value


@pytest.mark.behaviour("O17", "P36")
def test_members_are_answered_in_the_order_of_their_ends() -> None:
    async def code() -> list[int]:
        async with join_set("s") as calls:
            for value in range(3):
                calls.submit(act, value)
            return [answer async for answer in calls]

    machine, log = live(code, ok(3, 30), ok(1, 10), ok(2, 20))

    assert outcome(machine) == [30, 10, 20]
    assert replayed(code, log)[0].finished == machine.finished


@pytest.mark.behaviour("O26", "P37")
def test_leaving_a_set_cancels_in_reverse_and_awaits_children() -> None:
    async def code() -> str:
        async with join_set("s") as calls:
            calls.submit(act)
            calls.submit(child)
            calls.submit_delay(60)
            calls.submit(act)
        return "left"

    waiting, log = live(code)

    cancelled = [events.decode(event).n for event in log if event.kind == "cancelled"]
    assert cancelled == [4, 3, 1]  # at once; then the child is awaited
    assert waiting.finished is None
    ended, log = live(code, events.ChildFinished(n=2, seq=1))
    assert [events.decode(event).n for event in log if event.kind == "cancelled"] == [4, 3, 1]
    assert outcome(ended) == "left"
    assert ended.activities_open == 0


@pytest.mark.behaviour("P39")
def test_an_error_nobody_looked_at_is_raised_on_leaving() -> None:
    async def code() -> str:
        async with join_set("s") as calls:
            calls.submit(act)
            await sleep(60)
        return "left"

    assert outcome(live(code, failed(1), events.TimerFired(n=2, seq=1))[0]) == "ValueError"


def test_an_error_in_the_block_is_not_hidden_by_one_of_a_member() -> None:
    async def code() -> None:
        async with join_set("s") as calls:
            calls.submit(act)
            await sleep(60)
            raise KeyError("block")

    assert outcome(live(code, failed(1), events.TimerFired(n=2, seq=1))[0]) == "KeyError"


def forgets(what: Callable[[], object]) -> Code:
    async def code() -> int:
        what()
        return 1

    return code


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda: act(1), r"act was called but never awaited"),
        (lambda: child(1), r"child was called but never awaited"),
        (lambda: sleep(1), r"sleep\(\) was called but never awaited"),
    ],
)
def test_a_forgotten_await_fails_the_workflow(what: Callable[[], object], said: str) -> None:
    machine, _ = live(forgets(what))

    assert outcome(machine) == "WorkflowMisuse"
    assert machine.finished is not None
    assert said.replace("\\", "") in machine.finished.error.message  # type: ignore[union-attr]


def test_a_call_is_awaited_once() -> None:
    async def code() -> None:
        call = act(1)
        await call
        await call

    assert outcome(live(code, ok(1))[0]) == "WorkflowMisuse"


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e13])
def test_nobody_waits_for_ever(seconds: float) -> None:
    async def code() -> None:
        await sleep(seconds)

    assert outcome(live(code)[0]) == "WorkflowMisuse"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "#1", "\0"])
def test_a_set_has_a_plain_name(name: str) -> None:
    async def code() -> None:
        join_set(name)

    assert outcome(live(code)[0]) == "WorkflowMisuse"


async def clashing() -> None:
    async with join_set("s"):
        pass
    join_set("s")


async def submits_too_late() -> None:
    async with join_set() as calls:
        pass
    calls.submit(act)


async def submits_too_early() -> None:
    join_set().submit_delay(1)


async def enters_twice() -> None:
    async with join_set() as calls:
        await calls.__aenter__()


async def waits_for_nobody() -> None:
    async with join_set() as calls:
        await calls.next()


@pytest.mark.parametrize(
    "code", [clashing, submits_too_late, submits_too_early, enters_twice, waits_for_nobody]
)
@pytest.mark.behaviour("O25")
def test_a_set_says_how_it_is_used(code: Code) -> None:
    assert outcome(live(code)[0]) == "WorkflowMisuse"


def test_an_empty_set_is_left_at_once() -> None:
    async def code() -> list[int]:
        async with join_set() as calls:
            return [answer async for answer in calls]

    assert outcome(live(code)[0]) == []


@pytest.mark.parametrize(
    "error", [SystemExit(2), asyncio.CancelledError()], ids=["exit", "cancelled"]
)
def test_any_error_of_the_code_is_its_outcome(error: BaseException) -> None:
    async def code() -> None:
        raise error

    assert outcome(live(code)[0]) == type(error).__name__


def test_input_that_cannot_be_read_is_the_outcome() -> None:
    async def code() -> None: ...

    code.__annotations__ = {"return": "Unknown"}
    assert outcome(live(code)[0]) == "WorkflowMisuse"


def test_code_is_dropped_without_running_its_clean_up() -> None:
    ran: list[str] = []

    async def code() -> None:
        try:
            async with join_set() as calls:
                calls.submit(act)
                await sleep(60)
        finally:
            await act(9)
            ran.append("after the clean-up activity")

    machine, log = live(code)
    machine.dispose()

    assert log[-1].kind == "timer_set"
    assert ran == []


def test_code_that_was_stopped_by_a_change_is_dropped_too() -> None:
    async def before() -> None:
        async with join_set("s") as calls:
            calls.submit(act, 1)
            calls.submit(act, 2)
            await calls.next()

    async def after() -> None:
        try:
            await sleep(1)
        finally:
            await act(1)

    with pytest.raises(Nondeterminism):
        replayed(after, live(before)[1])
    gc.collect()  # a coroutine that is closed too late is an unraisable error here


def test_a_finished_machine_is_forgotten() -> None:
    async def code() -> int:
        return await act()

    machine, _ = live(code, ok(1))
    known = weakref.ref(machine)
    del machine
    gc.collect()

    assert known() is None


def test_outside_a_workflow_each_call_says_where_it_belongs() -> None:
    calls: list[Callable[[], object]] = [
        now, random, uuid4, execution_id, join_set, act, child, lambda: sleep(1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(WorkflowMisuse, match=r"only be used in|outside") as caught:
            call()
        assert str(caught.value)


def test_whatever_code_raises_is_the_outcome() -> None:
    async def code() -> None:
        raise GeneratorExit

    assert outcome(live(code)[0]) == "GeneratorExit"
