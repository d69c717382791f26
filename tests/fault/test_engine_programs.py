"""
Random small workflows, crashed at random moments, against a model in plain Python.

A program is data; one workflow interprets it with durable calls, one function with
none. The crash is a copy of the files, taken between two commits.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from obelisk_ops import Engine, Handle, Retry, activity, join_set, random, sleep, workflow
from obelisk_ops.core.fold import fold
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.durable.rng import ReplayRandom
from obelisk_ops.storage.sqlite.store import SqliteStore
from tests.engines import crash, the_tables_fit_the_logs

Program = list[Any]

AT_ONCE = Retry(max_attempts=2, initial=timedelta(milliseconds=1))

# One instruction: ["call", n] · ["thread", n] · ["fail", n] · ["flaky", n] · ["sleep", ms]
# · ["draw"] · ["child", program] · ["all", [program, …]] · ["try", program]
LEAVES = st.one_of(
    st.tuples(st.sampled_from(["call", "thread", "flaky", "fail"]), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.integers(0, 15)),
    st.just(("draw",)),
)
PROGRAMS = st.recursive(
    st.lists(LEAVES, max_size=4),
    lambda inner: st.lists(
        st.one_of(
            LEAVES,
            st.tuples(st.sampled_from(["child", "try"]), inner),
            st.tuples(st.just("all"), st.lists(inner, max_size=3)),
        ),
        max_size=4,
    ),
    max_leaves=12,
)


@activity
async def call(n: int) -> int:
    await asyncio.sleep(0.001 * (n % 3))
    return n


@activity
def thread(n: int) -> int:
    return 10 * n


@activity(retry=AT_ONCE)
async def flaky(n: int) -> int:
    if activity.attempt() == 1:
        raise ConnectionError(n)
    return 100 * n


@activity(retry=AT_ONCE)
async def fail(n: int) -> int:
    raise KeyError(n)


@workflow
async def interpret(program: Program) -> list[Any]:
    """Do what a program says, durably."""
    out: list[Any] = []
    for what, *rest in program:
        if what in CALLS:
            out.append(await CALLS[what](*rest))
        elif what == "sleep":
            await sleep(rest[0] / 1000)
        elif what == "draw":
            out.append(random().randint(0, 1000))
        elif what == "child":
            out.append(await interpret(rest[0]))
        elif what == "try":
            out.append(await attempted(rest[0]))
        else:
            out.append(await all_of(rest[0]))
    return out


async def attempted(program: Program) -> Any:
    try:
        return await interpret(program)
    except KeyError as error:
        return f"caught {error}"


async def all_of(programs: list[Program]) -> list[Any]:
    async with join_set() as members:
        for program in programs:
            members.submit(interpret, program)
        return sorted([str(answer) async for answer in members])


CALLS = {"call": call, "thread": thread, "flaky": flaky, "fail": fail}
VALUES = {"call": 1, "thread": 10, "flaky": 100}


class Model:
    """The same in plain Python: what an execution of this name must answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.draws = ReplayRandom(name)

    def interpret(self, program: Program) -> list[Any]:
        out: list[Any] = []
        for what, *rest in program:
            match what:
                case "draw":
                    out.append(self.draws.randint(0, 1000))
                case "sleep":
                    self.calls += 1
                case "fail":
                    self.calls += 1
                    raise KeyError(rest[0])
                case "child":
                    out.append(self.child().interpret(rest[0]))
                case "try":
                    out.append(self.attempted(rest[0]))
                case "all":
                    out.append(self.all_of(rest[0]))
                case _:
                    self.calls += 1
                    out.append(VALUES[what] * rest[0])
        return out

    def child(self) -> Model:
        self.calls += 1
        return Model(f"{self.name}/{self.calls}")

    def attempted(self, program: Program) -> Any:
        try:
            return self.child().interpret(program)
        except KeyError as error:
            return f"caught {error}"

    def all_of(self, programs: list[Program]) -> list[Any]:
        return sorted(str(member.interpret(p)) for p in programs for member in [self.child()])


def expected(program: Program) -> Any:
    try:
        return Model("p").interpret(program)
    except KeyError as error:
        return error


async def answer(handle: Handle[list[Any]]) -> Any:
    try:
        return await handle.result()
    except Exception as error:  # noqa: BLE001 - the outcome to compare
        return error.__cause__


async def crashed_now_and_then(program: Program, pauses: list[float], folder: Path) -> Any:
    database = folder / "p.db"
    for life, pause in enumerate(pauses):
        async with Engine(database, grace=0) as engine:
            handle = await engine.submit(interpret, program, id="p")
            await asyncio.sleep(pause)
            database = crash(database, folder / str(life))
            assert handle.id == "p"
    async with Engine(database) as engine:
        outcome = await answer(await engine.submit(interpret, program, id="p"))
    with closing(SqliteStore(database)) as store:
        the_tables_fit_the_logs(store)
        for row in store.executions(ExecutionFilter(limit=10_000)):
            assert fold(store.log(row.key)).has_ended
    return outcome


@pytest.mark.behaviour("O61", "P12")
@seed(20261122)
@given(
    program=PROGRAMS,
    pauses=st.lists(st.sampled_from([0.0, 0.001, 0.003, 0.01, 0.03]), max_size=3),
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
def test_random_programs_answer_as_the_model(program: Program, pauses: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(crashed_now_and_then(program, pauses, Path(folder)))

    wanted = expected(program)
    if isinstance(wanted, KeyError):
        assert isinstance(outcome, KeyError)
        assert outcome.args == wanted.args or "all" in str(program)
    else:
        assert outcome == wanted
