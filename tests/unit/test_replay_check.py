"""Every way in which code can differ from its log, and what is said of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from obelisk_ops import (
    Signal,
    activity,
    continue_as_new,
    gather,
    join_set,
    patched,
    random,
    schedule,
    sleep,
    stub,
    workflow,
)
from obelisk_ops.core import events
from obelisk_ops.errors import Nondeterminism
from tests.driving import Code, live, ok, replayed

go = Signal("go", bool)
stop = Signal("stop", bool)


@activity
def act(value: int = 0) -> int:
    return value


@activity
def other(value: int = 0) -> int:
    return value


@workflow
async def child(value: int = 0) -> int:
    return value


@workflow
async def other_child(value: int = 0) -> int:
    return value


@stub
async def decide(question: str) -> bool:
    raise NotImplementedError


@stub
async def judge(question: str) -> bool:
    raise NotImplementedError


async def two() -> str:
    await act(1)
    await act(2)
    return "done"


async def a_pair() -> None:
    async with join_set("pair") as pair:
        pair.submit(act, 1)
        pair.submit(child, 2)
        await pair.next()


# -- what the code does instead -------------------------------------------------------------


async def one_before() -> None:
    await other(0)
    await two()


async def one_between() -> None:
    await act(1)
    await other(0)


async def the_second_only() -> None:
    await act(2)


async def another_way_round() -> None:
    await act(2)
    await act(1)


async def another_name() -> None:
    await other(1)


async def another_argument() -> None:
    await act(1)
    await act(3)


async def another_draw() -> None:
    await act(1)
    await act(random().randint(10, 20))


async def a_default() -> None:
    await act()


async def an_early_return() -> str:
    await act(1)
    return "done"


async def an_early_error() -> None:
    await act(1)
    raise ValueError("changed")


async def one_more_at_the_end() -> str:
    await two()
    await act(3)
    return "done"


async def a_sleep_at_the_end() -> None:
    await two()
    await sleep(1)


async def another_value() -> str:
    await two()
    return "finished"


async def an_error_at_the_end() -> None:
    await two()
    raise ValueError("changed")


async def a_sleep_instead() -> None:
    await sleep(1)


async def a_child_instead() -> None:
    await child(1)


async def a_stub_instead() -> None:
    await decide("?")


async def a_signal_instead() -> None:
    await go.receive()


async def a_schedule_instead() -> None:
    await schedule(child, 1)


async def a_successor() -> None:
    await act(1)
    continue_as_new()


async def both_at_once() -> None:
    await gather(act(1), act(2))


async def waits_for_nothing_more() -> None:
    async with join_set("pair") as pair:
        pair.submit(act, 1)
        await pair.next()


async def another_set() -> None:
    async with join_set("couple") as pair:
        pair.submit(act, 1)


async def another_member() -> None:
    async with join_set("pair") as pair:
        pair.submit(act, 1)
        pair.submit(other_child, 2)


async def closes_at_once() -> None:
    async with join_set("pair") as pair:
        pair.submit(act, 1)
        pair.submit(child, 2)


OF_TWO: list[tuple[Code, int, str, str]] = [
    (one_before, 1, r"call 1, activity .*act\(1\)", r"asks for call 1, .*other\(0\)"),
    (one_between, 3, r"call 2, activity .*act\(2\)", r"asks for call 2, .*other\(0\)"),
    (the_second_only, 1, r"act\(1\)", r"asks for call 1, .*act\(2\)"),
    (another_way_round, 1, r"act\(1\)", r"asks for call 1, .*act\(2\)"),
    (another_name, 1, r"act\(1\)", r"asks for .*other\(1\)"),
    (another_argument, 3, r"act\(2\)", r"asks for .*act\(3\)"),
    (another_draw, 3, r"act\(2\)", r"asks for .*act\(1\d\)|act\(20\)"),
    (a_default, 1, r"act\(1\)", r"asks for .*act\(0\)"),
    (an_early_return, 3, r"act\(2\)", 'asks for the end of the workflow with "done"'),
    (an_early_error, 3, r"act\(2\)", "asks for the end .* by ValueError: changed"),
    (one_more_at_the_end, 5, 'the end of the workflow with "done"', r"asks for call 3, .*act"),
    (a_sleep_at_the_end, 5, 'the end of the workflow with "done"', "call 3, sleep of 1 s"),
    (another_value, 5, 'the end of the workflow with "done"', 'the end .* with "finished"'),
    (an_error_at_the_end, 5, 'with "done"', "the end .* by ValueError: changed"),
    (a_sleep_instead, 1, r"act\(1\)", "asks for call 1, sleep of 1 s"),
    (a_child_instead, 1, r"act\(1\)", r"asks for call 1, child workflow .*child\(1\)"),
    (a_stub_instead, 1, r"act\(1\)", r"asks for call 1, stub .*decide\("),
    (a_signal_instead, 1, r"act\(1\)", "asks for call 1, signal 'go'"),
    (a_schedule_instead, 1, r"act\(1\)", r"asks for call 1, scheduling .*child\(1\)"),
    (a_successor, 3, r"act\(2\)", "the end of the workflow, to continue as new"),
    (both_at_once, 2, "'returned' of call 1", r"asks for call 2, .*act\(2\)"),
    (a_pair, 1, r"act\(1\)", r"asks for .*act\(1\) in join set 'pair'"),
]
OF_A_PAIR: list[tuple[Code, int, str, str]] = [
    (waits_for_nothing_more, 2, r"call 2, child workflow .*child\(2\)", "waits for something"),
    (another_set, 1, "in join set 'pair'", "in join set 'couple'"),
    (another_member, 2, r"child\(2\)", r"other_child\(2\)"),
    (closes_at_once, 3, "'returned' of call 1", "the cancelling of call 1"),
    (two, 1, "in join set 'pair'", r"asks for call 1, activity .*act\(1\)$"),
]


def mismatch(code: Code, log: list[events.Event]) -> Nondeterminism:
    with pytest.raises(Nondeterminism) as caught:
        replayed(code, log)
    return caught.value


@pytest.mark.parametrize(("code", "version", "recorded", "asked"), OF_TWO)
def test_two_calls(code: Code, version: int, recorded: str, asked: str) -> None:
    error = mismatch(code, live(two, ok(1, 5), ok(2, 6))[1])

    check(error, version, recorded, asked)


@pytest.mark.parametrize(("code", "version", "recorded", "asked"), OF_A_PAIR)
def test_a_join_set(code: Code, version: int, recorded: str, asked: str) -> None:
    error = mismatch(code, live(a_pair, ok(1, 5))[1])

    check(error, version, recorded, asked)


def check(error: Nondeterminism, version: int, recorded: str, asked: str) -> None:
    assert re.search(f"at version {version} the log has .*{recorded}.*, but the code .*{asked}",
                     error.message), error.message  # fmt: skip
    assert "undo the change" in error.hint
    assert 'patched("name")' in error.hint
    assert f"obelisk-ops execution fork e --from-version {version} " in error.hint


# -- each kind against another of its kind ---------------------------------------------------


def of(*awaited: Any) -> Code:
    """Return code that awaits what each function makes."""

    async def code() -> None:
        for make in awaited:
            await make()

    return code


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
PAIRS: list[tuple[Any, Any, str, str]] = [
    (lambda: sleep(1), lambda: sleep(2), "sleep of 1 s", "sleep of 2 s"),
    (lambda: child(1), lambda: child(2), r"child\(1\)", r"child\(2\)"),
    (lambda: child(1), lambda: other_child(1), r"child\(1\)", r"other_child\(1\)"),
    (lambda: child(1), lambda: act(1), "child workflow", "activity"),
    (lambda: decide("a"), lambda: decide("b"), '"a"', '"b"'),
    (lambda: decide("a"), lambda: judge("a"), "decide", "judge"),
    (go.receive, stop.receive, "signal 'go'", "signal 'stop'"),
    (go.receive, lambda: go.receive(timeout=5), "signal 'go'", "signal 'go', for 5 s"),
    (go.receive, lambda: sleep(5), "signal 'go'", "sleep of 5 s"),
    (lambda: schedule(child, 1), lambda: schedule(child, 2), r"child\(1\)", r"child\(2\)"),
    (lambda: schedule(child, 1, after=1), lambda: schedule(child, 1, after=2), "1 s", "2 s"),
    (lambda: schedule(child, 1), lambda: schedule(child, 1, at=NOON), "child", "child"),
]


@pytest.mark.parametrize(("before", "after", "recorded", "asked"), PAIRS)
def test_a_call_and_another(before: Any, after: Any, recorded: str, asked: str) -> None:
    log = live(of(before, lambda: act(9)))[1]

    check(mismatch(of(after, lambda: act(9)), log), 1, recorded, asked)
    assert replayed(of(before, lambda: act(9)), log)[1] == log


# -- patched ---------------------------------------------------------------------------------


async def with_a_patch() -> str:
    if patched("new"):
        await other(0)
    await act(1)
    await act(2)
    return f"{patched('new')}"


def test_new_code_marks_itself() -> None:
    log = live(with_a_patch, ok(1), ok(2), ok(3))[1]

    assert [event.kind for event in log][:3] == ["created", "patched", "intended"]
    assert log[-1].body == '{"ok":"True"}'
    assert [event.kind for event in log].count("patched") == 1


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_what_was_past_the_place_goes_the_old_way(length: int) -> None:
    log = live(two, ok(1), ok(2))[1][:length]

    machine, after = replayed(with_a_patch, log)
    for n in list(machine.pending):
        machine.returned(ok(n), 9)
        for inner in list(machine.pending):
            machine.returned(ok(inner), 9)

    assert after[:length] == log
    assert machine.finished is not None
    assert bytes(machine.finished.ok) == b'"False"'  # type: ignore[arg-type]


def test_a_patch_after_the_end_of_the_log_is_a_new_one() -> None:
    async def later() -> None:
        await act(1)
        if patched("new"):
            await other(0)
        await act(2)

    log = live(of(lambda: act(1), lambda: act(2)), ok(1))[1]
    assert [event.kind for event in log][-1] == "intended"

    machine, extended = replayed(later, log[:-1])

    assert [event.kind for event in extended][-2:] == ["patched", "intended"]
    assert machine.pending
    assert replayed(later, extended)[1] == extended
    assert replayed(later, log)[1] == log, "that one was past the place"


def test_two_patches_do_not_take_each_other_for_their_own() -> None:
    async def second() -> None:
        patched("b")
        patched("a")
        await act(1)

    async def first() -> None:
        patched("a")
        await act(1)

    log = live(first)[1]

    assert replayed(second, log)[1] == log


def test_a_mark_that_no_code_asks_for_is_told() -> None:
    log = live(with_a_patch)[1]

    check(mismatch(two, log), 1, r"the mark of patched\('new'\)", r"act\(1\)")
