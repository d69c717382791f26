"""
Random small workflows that die at random commits, against a model in plain Python.

The clock is moved by hand, so that no time is lost: a death is before or after a commit
of the test's choosing, executions rest on disk alone or in memory, and are paused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from obelisk_ops import activity
from obelisk_ops.core.fold import fold
from obelisk_ops.core.ports import ExecutionFilter, LogStore
from obelisk_ops.errors import ExecutionEnded
from obelisk_ops.testing import EngineForTests, replay
from tests.databases import SERVER, Databases
from tests.engines import the_tables_fit_the_logs, until
from tests.grammar import PROGRAMS
from tests.model import check_answers, expected, possible
from tests.programs import (
    CALLS,
    FLOWS,
    VALUES,
    Program,
    answer_stubs,
    hang,
    interpret,
    send_signals,
)

STEPS_MAX = 300
#: by how many minutes the clock is set, in which step
JUMPS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([-90, -1, 1, 90])), max_size=2)
#: what a long pause changes: a limit passes during it
LIMITED = ("race", "late", "intime", "drop", "receive")

#: the member that is asked first ends last
LATE_ERROR: Program = [("try", [("all", [[("call", 0), ("fail", 0)], [("fail", 1)]])])]

#: before or after which commit, from the last death on
DEATHS = st.lists(st.tuples(st.booleans(), st.integers(1, 12)), min_size=1, max_size=5)
#: in which steps the execution is paused, or let go on
PAUSES = st.lists(st.integers(0, 6), max_size=2)


def store_of(engine: EngineForTests) -> LogStore:
    assert engine._owner is not None
    return engine._owner.store


async def play(
    engine: EngineForTests,
    program: Program,
    pauses: Sequence[int] = (),
    jumps: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """Let a program run to its end, with all that it started; return the answers."""
    await engine.submit(interpret, program, id="p")
    await send_signals(engine, "p", program)
    has_limits = any(word in str(program) for word in LIMITED)
    for step in range(STEPS_MAX):
        await rest(engine)
        the_tables_fit_the_logs(store_of(engine))
        await set_clock(engine, dict(jumps).get(step, 0), may_be_late=not has_limits)
        if step in pauses:
            await turn_over(engine)
            continue
        if await answer_stubs(engine):
            continue
        if all(row.state == "finished" for row in engine.list(limit=1000)):
            break
        due = engine.clock.next_due()
        is_held = engine.row("p").state == "paused"
        if due is not None and not (is_held and has_limits):
            await engine.clock.advance(due - engine.clock.now(), wait=False)
        elif is_held:
            await turn_over(engine)
    return {name: await answer(engine, name) for name in expected("p", program)}


async def set_clock(engine: EngineForTests, minutes: int, *, may_be_late: bool) -> None:
    """Set the clock back, or on, where no limit would pass by that."""
    if minutes < 0 or (minutes and may_be_late):
        await engine.clock.jump(timedelta(minutes=minutes), wait=False)


async def answer(engine: EngineForTests, name: str) -> Any:
    try:
        return await engine.handle(name).result()
    except Exception as error:  # noqa: BLE001 - the answer to compare
        return error.__cause__ or error


async def rest(engine: EngineForTests) -> None:
    """Return when nothing goes on but what hangs: only then the clock is moved."""
    while True:
        await until(lambda: only_hangs(engine), "activities end")
        await engine.settle(wait=False)
        if only_hangs(engine):  # what had ended may have led to the next ones
            return


def only_hangs(engine: EngineForTests) -> bool:
    """Return whether no activity runs that will end; one that is paused is not told of it."""
    return not any(
        call.is_in_flight and call.function != hang.name
        for row in engine.list(limit=1000)
        if row.state not in {"finished", "paused"}
        for call in fold(engine.read_log(row.id)).calls.values()
    )


async def turn_over(engine: EngineForTests) -> None:
    """Pause the execution, or let it go on."""
    handle = engine.handle("p")
    try:
        if handle.status().state == "paused":
            await handle.unpause()
        else:
            await handle.pause()
    except ExecutionEnded:
        return


async def run_program(
    databases: Databases,
    program: Program,
    deaths: list[tuple[bool, int]],
    pauses: list[int],
    jumps: list[tuple[int, int]],
    keep_loaded: int,
) -> None:
    with databases.lent() as db:
        async with EngineForTests(
            db, workflows=FLOWS, keep_loaded=keep_loaded, patience=20
        ) as engine:
            for is_before, which in deaths:
                (engine.crash_before if is_before else engine.crash_after)(which)
            answers = await play(engine, program, pauses, jumps)
            check_answers(answers, "p", program)
            the_logs_fit_the_code(engine)


def the_logs_fit_the_code(engine: EngineForTests) -> None:
    known = {flow.name: flow for flow in FLOWS}
    for row in store_of(engine).executions(ExecutionFilter(limit=1000)):
        replayed = replay(engine.history(row.id), known[row.function])
        assert replayed.asks_for == []
        assert replayed.has_finished


def check(
    databases: Databases,
    program: Program,
    deaths: list[tuple[bool, int]],
    pauses: list[int],
    jumps: list[tuple[int, int]],
    keep_loaded: int,
) -> None:
    asyncio.run(run_program(databases, program, deaths, pauses, jumps, keep_loaded))


programs = given(
    program=PROGRAMS,
    deaths=DEATHS,
    pauses=PAUSES,
    jumps=JUMPS,
    keep_loaded=st.sampled_from([0, 1000]),
)
how: dict[str, Any] = {
    "deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True,
}  # fmt: skip


@pytest.mark.behaviour("O61", "P12")
@pytest.mark.slow_on_a_server
@programs
@example(program=LATE_ERROR, deaths=[(False, 1)], pauses=[], jumps=[], keep_loaded=1000)
@example(program=[("stub", 0)], deaths=[(False, 1)], pauses=[0], jumps=[], keep_loaded=0)
@settings(max_examples=100, derandomize=True, **how)
def test_some_programs(
    databases: Databases,
    program: Program,
    deaths: list[tuple[bool, int]],
    pauses: list[int],
    jumps: list[tuple[int, int]],
    keep_loaded: int,
) -> None:
    check(databases, program, deaths, pauses, jumps, keep_loaded)


@pytest.mark.parametrize("databases", [SERVER], indirect=True)
@programs
@settings(max_examples=10, derandomize=True, **how)
def test_a_few_programs_on_a_server(
    databases: Databases,
    program: Program,
    deaths: list[tuple[bool, int]],
    pauses: list[int],
    jumps: list[tuple[int, int]],
    keep_loaded: int,
) -> None:
    check(databases, program, deaths, pauses, jumps, keep_loaded)


def test_of_several_errors_each_may_come_first_and_no_other() -> None:
    assert [way["p"] for way in possible("p", LATE_ERROR)] == [["caught 0"], ["caught 1"]]
    check_answers({"p": ["caught 1"]}, "p", LATE_ERROR)
    with pytest.raises(AssertionError):
        check_answers({"p": ["caught 2"]}, "p", LATE_ERROR)


@activity(name="programs.slow")
def slow(n: int) -> int:
    time.sleep(0.05)
    return VALUES["thread"] * n


def test_activities_may_take_their_time(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of the last one would pass with the nap, if they were not waited for."""
    monkeypatch.setitem(CALLS, "thread", slow)
    race = ("race", "nap", [("call", 2), ("thread", 7), ("flaky", 1)])
    limited = [("intime", [("stub", 9), ("sleep", 10), ("sleep", 3)])]
    inner = [race, ("schedule", limited), ("gather", [[("sleep", 9)], [("stub", 9)]])]
    program: Program = [("receive",), ("drop", 7), ("schedule", inner)]
    for _ in range(3):
        check(databases, program, [(False, 9)], [2, 4], [(4, -90)], 0)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.behaviour("O61", "P12")
@programs
@example(program=LATE_ERROR, deaths=[(False, 1)], pauses=[], jumps=[], keep_loaded=1000)
@example(program=[("stub", 0)], deaths=[(False, 1)], pauses=[0], jumps=[], keep_loaded=0)
@settings(max_examples=1000, **how)
def test_many_programs(
    databases: Databases,
    program: Program,
    deaths: list[tuple[bool, int]],
    pauses: list[int],
    jumps: list[tuple[int, int]],
    keep_loaded: int,
) -> None:
    check(databases, program, deaths, pauses, jumps, keep_loaded)
