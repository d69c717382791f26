"""
Whatever is asked of an engine, in whatever order: it answers as a model in memory does.

Executions are created, signalled, answered, paused, cancelled; time passes or jumps; the
engine dies, at a commit or between two. After each step all has come to rest, and every
execution is where the model has it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from obelisk_ops import Cancelled, Handle, Signal, activity, sleep, stub, workflow
from obelisk_ops.errors import (
    AlreadyAnswered,
    Conflict,
    ExecutionEnded,
    ExecutionExists,
    ExecutionNotFound,
    NotCancellable,
    OpsError,
    StubNotFound,
)
from obelisk_ops.testing import EngineForTests
from tests.engines import in_memory, the_tables_fit_the_logs

IDS = st.sampled_from(["a", "b", "c"])
NEWS = Signal("news", int)


@activity(name="machine.note")
async def note(text: str) -> str:
    return text


@stub(name="machine.decide")
def decide(question: str) -> int:
    raise NotImplementedError


@workflow(name="machine.collect")
async def collect(count: int) -> list[int]:
    out: list[int] = []
    try:
        while len(out) < count:
            out.append(await NEWS.receive() or 0)
            await note(f"{out}")
    except Cancelled:
        await note("cancelled")
        raise
    return out


@workflow(name="machine.nap", cancellable=False)
async def nap(minutes: int) -> int:
    await sleep(60 * minutes)
    return minutes


@workflow(name="machine.ask")
async def ask(extra: int) -> int:
    return extra + await decide("how many?")


@workflow(name="machine.family")
async def family(minutes: int) -> int:
    return await nap(minutes) + await nap(0)


FLOWS: dict[str, Any] = {"collect": collect, "nap": nap, "ask": ask, "family": family}


@dataclass
class Known:
    """What the model knows of an execution."""

    kind: str
    number: int
    created: datetime
    due: datetime
    is_paused: bool = False
    waiting: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    signal_ids: set[str] = field(default_factory=set)
    answer: int | None = None
    is_leaving: bool = False
    has_begun: bool = False
    is_over: bool = False  # the first nap
    end: tuple[str, Any] | None = None

    def begin(self, now: datetime) -> None:
        """Let its code begin: its time counts from here."""
        self.has_begun = True
        self.due = max(self.created, now) + timedelta(minutes=self.number)

    def go_on(self, now: datetime) -> None:
        """Do what can be done, if it may."""
        self.is_over |= self.has_begun and (now >= self.due or self.number == 0)
        if self.end is not None or self.is_paused:
            return
        match self.kind:
            case "collect":
                while self.waiting and len(self.received) < self.number:
                    self.received.append(self.waiting.pop(0))
                if len(self.received) == self.number:
                    self.end = ("ok", self.received)
            case "ask" if self.answer is not None:
                self.end = ("ok", self.number + self.answer)
            case "nap" | "family" if self.is_over:
                self.end = ("cancelled", None) if self.is_leaving else ("ok", self.number)
            case _:
                pass


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=in_memory()))
        self.loop = asyncio.new_event_loop()
        self.known: dict[str, Known] = {}
        self.engine: EngineForTests | None = None
        self.crashes = 0

    @initialize(keep_loaded=st.sampled_from([0, 1, 1000]))
    def begin(self, keep_loaded: int) -> None:
        self.engine = EngineForTests(
            self.folder / "m.db", workflows=FLOWS.values(), keep_loaded=keep_loaded
        )
        self.do(self.engine.__aenter__())

    # -- what is asked

    @rule(
        id_=IDS, kind=st.sampled_from([*FLOWS]), number=st.integers(0, 3), paused=st.booleans()
    )
    def submit(self, id_: str, kind: str, number: int, *, paused: bool) -> None:
        text, now = f"[{number}]".encode(), self.here.clock.now()
        found = self.outcome(
            self.here.submit_json(FLOWS[kind], text, execution_id=id_, paused=paused)
        )
        old = self.known.get(id_)
        if old is None:
            self.known[id_] = Known(kind, number, now, now, is_paused=paused)
            if not paused:
                self.known[id_].begin(now)
            assert isinstance(found, Handle), found
        elif (old.kind, old.number) == (kind, number):
            assert isinstance(found, Handle), found
            self.expect(found.created, wanted=False)
        else:
            assert found is ExecutionExists

    @rule(id_=IDS, value=st.integers(0, 9), signal_id=st.sampled_from(["", "x", "y"]))
    def signal(self, id_: str, value: int, signal_id: str) -> None:
        known = self.known.get(id_)
        body = f'{{"name":"news","value":{value},"id":"{signal_id}"}}'
        found = self.outcome(self.here.ask("signal", id_, body))
        if known is not None and signal_id in known.signal_ids and found is False:
            return  # it was sent before: whatever has become of the execution
        if self.is_refused(known, found):
            return
        assert known is not None
        is_new = signal_id == "" or signal_id not in known.signal_ids
        self.expect(found, is_new)
        if is_new:
            known.signal_ids.add(signal_id)
            known.waiting.append(value)

    @rule(id_=IDS, value=st.integers(0, 9))
    def answer(self, id_: str, value: int) -> None:
        known = self.known.get(id_)
        found = self.outcome(self.here.stub(f"{id_}/1", value))
        if known is None:
            assert found in (ExecutionNotFound, StubNotFound)
        elif known.kind != "ask" or not self.has_begun(id_):
            assert found in (StubNotFound, ExecutionEnded)
        elif known.end == ("cancelled", None) and known.answer != value:
            assert found in (AlreadyAnswered, ExecutionEnded, StubNotFound)
        elif known.answer is not None:
            assert found is False if known.answer == value else found is AlreadyAnswered
        else:
            self.expect(found, wanted=True)
            known.answer = value

    @rule(id_=IDS)
    def pause(self, id_: str) -> None:
        known = self.known.get(id_)
        found = self.outcome(self.here.ask("pause", id_))
        if not self.is_refused(known, found):
            assert known is not None
            self.expect(found, Conflict if known.is_leaving else not known.is_paused)
            known.is_paused = not known.is_leaving

    @rule(id_=IDS)
    def unpause(self, id_: str) -> None:
        known = self.known.get(id_)
        has_begun = known is not None and self.has_begun(id_)
        found = self.outcome(self.here.ask("unpause", id_))
        if not self.is_refused(known, found):
            assert known is not None
            self.expect(found, known.is_paused)
            if not has_begun:
                known.begin(self.here.clock.now())
            known.is_paused = False

    @rule(id_=IDS)
    def cancel(self, id_: str) -> None:
        known = self.known.get(id_)
        has_begun = known is not None and self.has_begun(id_)
        found = self.outcome(self.here.ask("cancel", id_))
        if self.is_refused(known, found):
            return
        assert known is not None
        if known.kind == "nap":
            assert found is NotCancellable
            return
        self.expect(found, wanted=not known.is_leaving)
        known.is_paused = False
        if has_begun and known.kind == "ask":
            known.go_on(self.here.clock.now())  # with the answer that came during a pause
        if known.kind == "family" and has_begun and not known.is_over:
            known.is_leaving = True  # its child is not cancellable: it is waited for
        elif known.end is None:
            known.end = ("cancelled", None)

    # -- what happens

    @rule(minutes=st.sampled_from([0.5, 1, 2]))
    def time_passes(self, minutes: float) -> None:
        self.do(self.here.clock.advance(minutes=minutes))

    @rule(minutes=st.sampled_from([1, 60]))
    def the_clock_is_set_forward(self, minutes: int) -> None:
        self.do(self.here.clock.jump(timedelta(minutes=minutes)))

    @rule(minutes=st.sampled_from([1, 60]))
    def the_clock_is_set_back_and_right_again(self, minutes: int) -> None:
        self.do(self.here.clock.jump(timedelta(minutes=-minutes)))
        self.do(self.here.clock.jump(timedelta(minutes=minutes)))

    @rule()
    def the_engine_dies(self) -> None:
        self.do(self.here.crash())

    @rule(which=st.integers(1, 3), is_before=st.booleans())
    def the_engine_will_die(self, which: int, *, is_before: bool) -> None:
        (self.here.crash_before if is_before else self.here.crash_after)(which)

    # -- inside

    @property
    def here(self) -> EngineForTests:
        assert self.engine is not None
        return self.engine

    def do(self, asked: Coroutine[Any, Any, Any]) -> Any:
        async def then_rest() -> Any:
            try:
                return await asked
            finally:
                await self.here.settle()

        return self.loop.run_until_complete(then_rest())

    def expect(self, found: object, wanted: object) -> None:
        """Compare; what was asked again after a death is no news then, or over."""
        if self.here.crashes == self.crashes:
            assert found == wanted

    def outcome(self, asked: Coroutine[Any, Any, Any]) -> Any:
        self.crashes = self.here.crashes
        try:
            return self.do(asked)
        except OpsError as error:
            return type(error)

    def has_begun(self, id_: str) -> bool:
        kinds = [event.kind for event in self.here.read_log(id_)]
        return any(kind not in ("created", "paused", "unpaused") for kind in kinds)

    def is_refused(self, known: Known | None, found: object) -> bool:
        if known is None:
            assert found is ExecutionNotFound
        elif known.end is not None:
            assert found is ExecutionEnded
        return known is None or known.end is not None

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        if self.engine is None:
            return
        now = self.here.clock.now()
        for id_, known in self.known.items():
            known.go_on(now)
            row = self.here.row(id_)
            if known.end is not None:
                assert (row.state, row.result) == ("finished", known.end[0]), (id_, known)
                if known.end[0] == "ok":
                    found = self.loop.run_until_complete(self.here.handle(id_).result())
                    assert found == known.end[1], (id_, known)
            elif known.is_paused:
                assert row.state == "paused", (id_, known)
            else:
                assert row.state != "finished", (id_, known)
        assert self.here._owner is not None
        the_tables_fit_the_logs(self.here._owner.store)

    def teardown(self) -> None:
        if self.engine is not None:
            self.loop.run_until_complete(self.engine.__aexit__(None, None, None))
        self.loop.close()
        shutil.rmtree(self.folder)


class LongMachine(EngineMachine):
    pass


TestEngine: Any = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=30, stateful_step_count=25, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestEngineForLong: Any = pytest.mark.chaos(pytest.mark.timeout(1800)(LongMachine.TestCase))
TestEngineForLong.settings = settings(
    max_examples=300, stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
