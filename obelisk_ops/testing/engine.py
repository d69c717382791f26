"""
An engine for tests: on a database of its own, on a clock that is moved, and it can die.

It is the real engine on the real store. The file lies in memory (/dev/shm) where the
system has that, so that syncs cost nothing: what is tested is what runs in production,
and a death leaves exactly what was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec

from obelisk_ops.core import ids, requests
from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.barrier import NoBarrier
from obelisk_ops.core.events import BODIES, Finished
from obelisk_ops.core.history import History, history_of, to_json
from obelisk_ops.core.ports import LogReader
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.flow.functions import Activity, Workflow
from obelisk_ops.durable.handle import Handle
from obelisk_ops.durable.owner import Owner
from obelisk_ops.storage import Address, Place, open_reader, open_store
from obelisk_ops.testing.clock import MovableClock
from obelisk_ops.testing.crashing import Crashed, Deaths, MortalStore, any_commit, commit_of
from obelisk_ops.testing.showing import show_engine, waits_for
from obelisk_ops.testing.standins import StandIn

R = TypeVar("R")

_numbers = count(1)
_QUIET_ROUNDS = 3
_PAUSE_S = 0.001


class EngineForTests(Engine):
    """
    See the module, and Engine.

    Attributes:
        clock: Where its time comes from.
        crashes: How often it has died.
        patience: Real seconds after which a test that can only hang is failed instead.
    """

    def __init__(
        self,
        database: str | Path | Place,
        *,
        clock: MovableClock | None = None,
        workflows: Iterable[Workflow[Any, Any] | ModuleType] | None = None,
        patience: float = 10.0,
        **options: Any,  # noqa: ANN401 - those of Engine
    ) -> None:
        self.clock = clock or MovableClock()
        options = {"grace": 0.0} | options
        super().__init__(database, workflows=workflows, clock=self.clock, **options)
        self.crashes = 0
        self.patience = patience
        self._deaths = Deaths()
        self._entered = 0
        self._alive = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._between_lives: LogReader | None = None
        self._mortal: MortalStore | None = None
        self._stand_ins: list[StandIn] = []

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start it; in a test whose engine is a fixture it is started already."""
        self._entered += 1
        if self._entered == 1:
            await self._begin()
            self.clock.join(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered -= 1
        if self._entered:
            return
        self.clock.leave(self)
        if self._reviving is not None:
            await asyncio.wait([self._reviving], timeout=self.patience)
        if self._watch is not None:
            self._watch.cancel()
        for stand_in in self._stand_ins:
            stand_in.leave()
        if self._mortal is not None and kind is not None:
            self._mortal.die()  # a test that failed has no wish to wait
        await super().__aexit__(kind, error, trace)

    async def settle(self, *, wait: bool = True) -> None:
        """
        Return when nothing happens any more by itself: no activity runs, all is durable.

        Args:
            wait: False not to wait for activities that run.

        Raises:
            AssertionError: An activity does not end within ``patience``.
        """
        quiet = 0
        until = self._real_s() + self.patience
        while quiet < _QUIET_ROUNDS:
            await asyncio.sleep(0 if quiet and wait else _PAUSE_S)
            quiet = quiet + 1 if self._is_settled(with_attempts=wait) else 0
            if self._real_s() > until:
                raise AssertionError(
                    f"the engine did not come to rest within {self.patience:g} s: does an "
                    f"activity wait for the test? 'wait=False' goes on without it\n"
                    f"{show_engine(self)}"
                )

    # -- deaths -----------------------------------------------------------------------------

    def crash_after(self, commits: int = 1, *, event: str | None = None) -> None:
        """
        Die right after a commit, before anything is done because of it; then start again.

        Args:
            commits: After which one, from now on: 1 is the next.
            event: Count only commits which hold an event of this kind.
        """
        self._die_at(commits, event, is_before=False)

    def crash_before(self, commits: int = 1, *, event: str | None = None) -> None:
        """Die in place of a commit, of which nothing is durable; see ``crash_after``."""
        self._die_at(commits, event, is_before=True)

    async def crash(self) -> None:
        """Die now, and start again on what is durable."""
        if self._mortal is not None:
            self._mortal.die()
        await self._revive()

    @property
    def commits(self) -> int:
        """How many commits were made, or died in."""
        return self._deaths.commits

    def _die_at(self, commits: int, event: str | None, *, is_before: bool) -> None:
        if commits < 1:
            raise ValueError(f"commits are counted from 1, not {commits}")
        if event is not None and event not in BODIES:
            raise ValueError(f"{event!r} is no kind of event; there are {', '.join(BODIES)}")
        fits = any_commit if event is None else commit_of(event)
        self._deaths.add(commits, fits, is_before=is_before)

    # -- stand-ins --------------------------------------------------------------------------

    def replace(self, activity: Activity[..., R], fake: Callable[..., Any]) -> StandIn:
        """Let *fake* (``def`` or ``async def``) run in place of an activity, to the end."""
        stand_in = StandIn(activity, fake)
        stand_in.enter()
        self._stand_ins.append(stand_in)
        return stand_in

    @contextmanager
    def stubbed(
        self,
        activity: Activity[..., R],
        *,
        returns: Any = None,  # noqa: ANN401 - the activity's own
        raises: BaseException | type[BaseException] | None = None,
    ) -> Iterator[StandIn]:
        """Let an activity return a value, or raise an error, without running its code."""

        def fake(*_args: object, **_kwargs: object) -> object:
            if raises is not None:
                raise raises
            return returns

        stand_in = StandIn(activity, fake)
        stand_in.enter()
        try:
            yield stand_in
        finally:
            stand_in.leave()

    # -- what it holds ----------------------------------------------------------------------

    def history(self, execution: str | Handle[Any]) -> History:
        """Return the history of an execution, as an export holds it."""
        execution_id = execution if isinstance(execution, str) else execution.id
        row = self.row(execution_id)
        reader = self._reader()
        return history_of(execution_id, reader.log(row.key), reader.inbox(row.key))

    def export(self, execution: str | Handle[Any], file: str | Path) -> None:
        """Write the history of an execution to a file, for ``replay``."""
        Path(file).write_text(to_json(self.history(execution)), encoding="utf-8")

    # -- Engine, through deaths -------------------------------------------------------------

    async def submit_json(
        self,
        function: Workflow[Any, R],
        text: bytes,
        *,
        execution_id: str | None = None,
        **options: Any,  # noqa: ANN401 - those of Engine.submit_json
    ) -> Handle[R]:
        """See Engine.submit_json."""
        if execution_id is None:
            execution_id = ids.generated(self.clock.now_ms())
        options["execution_id"] = execution_id
        while True:
            try:
                return await super().submit_json(function, text, **options)
            except Crashed:
                await self._alive.wait()

    async def ask(
        self, kind: str, target: str, body: str = "{}", *, is_checked: bool = True
    ) -> bool:
        """See Engine.ask."""
        if kind == "signal" and self._deaths.are_due:
            body = _with_id(body)  # sent again after a death, it must not count twice
        while True:
            try:
                return await super().ask(kind, target, body, is_checked=is_checked)
            except Crashed:
                await self._alive.wait()

    async def wait_finished(self, execution_id: str) -> Finished:
        """
        See Source.wait_finished.

        Raises:
            AssertionError: It waits for something that does not come by itself.
        """
        __tracebackhide__ = True
        while True:
            try:
                return await self._wait_patiently(execution_id)
            except Crashed:
                await self._alive.wait()

    # -- inside -----------------------------------------------------------------------------

    async def _wait_patiently(self, execution_id: str) -> Finished:
        __tracebackhide__ = True
        waiting = asyncio.ensure_future(super().wait_finished(execution_id))
        seen, since = (0, 0), 0.0
        try:
            while not waiting.done():
                now = self.clock.now_ms(), self.commits
                if now != seen or not self._is_settled():
                    seen, since = now, self._real_s()
                if self._real_s() - since > self.patience:
                    raise AssertionError(waits_for(self, execution_id))
                await asyncio.wait([waiting], timeout=self.patience / 10)
        finally:
            waiting.cancel()
        return waiting.result()

    async def _begin(self) -> None:
        await super().__aenter__()
        self._alive.set()
        if self._owner is not None:
            self._watch = asyncio.create_task(self._revive_when_dead())

    def _take(self) -> Owner:
        opening, barrier = self._open, NoBarrier()
        return Owner(self.path, self._clock, self._registry, self._limits, opening, barrier)

    def _open(self, address: Address) -> ArchiveStore:
        self._mortal = MortalStore(open_store(address), self._deaths)
        return cast("ArchiveStore", self._mortal)

    async def _revive_when_dead(self) -> None:
        assert self._owner is not None
        try:
            await self._owner.failed()
        except Crashed:
            self._reviving = asyncio.current_task()
            await self._revive()

    async def _revive(self) -> None:
        self._alive.clear()
        self.crashes += 1
        watch, self._watch = self._watch, None
        if watch is not None and watch is not asyncio.current_task():
            watch.cancel()
        owner, self._owner = self._owner, None
        assert owner is not None
        self._between_lives = open_reader(self.path)
        await owner.close()
        await self._begin()
        self._between_lives.close()
        self._between_lives = None

    def _reader(self) -> LogReader:
        if self._owner is None and self._between_lives is not None:
            return self._between_lives
        return super()._reader()

    def _is_settled(self, *, with_attempts: bool = True) -> bool:
        if not self._alive.is_set():
            return False
        due = self.clock.next_due()
        is_due = due is not None and due <= self.clock.now()
        if self._owner is None:
            return True
        return self._owner.is_settled(with_attempts=with_attempts) and not is_due

    @staticmethod
    def _real_s() -> float:
        return asyncio.get_running_loop().time()


def _with_id(body: str) -> str:
    signal = msgspec.json.decode(body, type=requests.Signal)
    signal.id = signal.id or f"sent-{next(_numbers)}"
    return requests.encode(signal)
