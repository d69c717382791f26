"""
What becomes of attempts that were offered to other workers: claimed, answered, or lost.

Read from the table of tasks when a worker says that it has something to tell, and once a
second while one of them works for us. What a row says becomes an event in the commit that
takes the row away; so whoever owns the execution then, after a crash too, finds either.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from obelisk_ops.core import failures
from obelisk_ops.core.tasks import Board, Outcome, Standing, lost
from obelisk_ops.durable.execution import Execution
from obelisk_ops.durable.flow.attempt import Attempt, Key
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.turn import Turn
from obelisk_ops.durable.work import crashes
from obelisk_ops.errors import StorageUnavailable

if TYPE_CHECKING:
    from obelisk_ops.durable.scheduler import Scheduler

_LOOK_S = 1.0
_AGAIN_S = 0.2


class Offers:
    """See the module. Used by the loop's thread."""

    def __init__(self, scheduler: Scheduler, board: Board | None) -> None:
        self._engine = scheduler
        self._elsewhere = scheduler.workshop.elsewhere
        self._board = board
        self._gone_since: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._resting: set[int] = set()  # executions of which nothing may be claimed any more
        self._due_ms = 0  # when to look after who has claimed, by the clock that is never set

    def load(self) -> None:
        """Take over what another owner has offered of executions that are not in memory."""
        if self._board is not None:
            found, roster = [task.key for task in self._board.tasks()], self._engine.roster
            self._elsewhere.load(key for key in found if roster.get(key[0]) is None)
            self._engine.post(self.look)  # when what goes on is in memory

    def close(self) -> None:
        """Look no more; what is offered stays so."""
        self._board = None
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Take in what came of tasks; now and then, who has them, and whether those live."""
        if self._board is None or not self._elsewhere.open:
            return
        try:
            self._take_back()
            for task in self._board.answered():
                self._take(task, is_lost=False)
            if self._engine.clock.elapsed_ms() >= self._due_ms:
                self._watch(self._board.running())
        except StorageUnavailable:
            pass  # a server that is away for a moment
        if self._timer is None:
            self._wind()

    def _wind(self) -> None:
        wait_s = _AGAIN_S if self._gone_since else _LOOK_S
        self._due_ms = self._engine.clock.elapsed_ms() + round(wait_s * 1000)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._ring)

    def _ring(self) -> None:
        self._timer, self._due_ms = None, 0
        self._engine.post(self.look)

    def _watch(self, found: list[Standing]) -> None:
        dead = self._lost({task.worker or 0 for task in found})
        for task in found:
            self._take(task, is_lost=task.worker in dead)

    def rest(self, key: int, turn: Turn) -> None:
        """Let nothing of an execution be claimed any more; what is claimed may end."""
        if self._elsewhere.of(key):
            self._elsewhere.take_back(key, turn.write)
            turn.effects.append((self._rested, (key,)))

    def resumed(self, execution: Execution) -> None:
        """Take back what is offered of an execution that does not wait for it."""
        for key in self._elsewhere.of(execution.key):
            if key[1] not in execution.machine.pending:
                self._elsewhere.drop(key)

    # -- inside ------------------------------------------------------------------------

    def _rested(self, execution: int) -> None:
        self._resting.add(execution)
        with suppress(StorageUnavailable):  # the next look asks again
            self._take_back()

    def _take_back(self) -> None:
        """Forget what is on offer no more, of executions that rest or have rested."""
        if self._board is None or not self._resting:
            return
        left = {task.key for task in self._board.tasks()}
        for key in [
            key for execution in self._resting for key in self._elsewhere.of(execution)
        ]:
            if (*key, self._elsewhere.open[key]) not in left:
                del self._elsewhere.open[key]
                self._start(*key)
        self._resting.clear()

    def _start(self, key: int, n: int) -> None:
        """Start a call that may have been told meanwhile that it is on offer still."""
        execution = self._engine.roster.get(key)
        if execution is not None:
            self._engine.start_soon(execution, n)

    def _lost(self, workers: set[int]) -> set[int]:
        """Return which workers have given no sign of life for too long."""
        assert self._board is not None
        seen = self._board.sight(workers) if workers else []
        now_ms, since = self._engine.clock.elapsed_ms(), self._gone_since
        self._gone_since = {s.worker: since.get(s.worker, now_ms) for s in seen if s.is_gone}
        if self._gone_since.keys() - since.keys():
            self._board.call(self._gone_since.keys() - since.keys())
        return lost(seen, self._gone_since, now_ms)

    def _take(self, task: Standing, *, is_lost: bool) -> None:
        execution_key, n, attempt = task.key
        execution = self._engine.roster.get(execution_key)
        pending = execution.machine.pending.get(n) if execution else None
        is_ours = self._elsewhere.is_made((execution_key, n), attempt)
        if task.is_over or (execution is not None and not (is_ours and pending)):
            self._discard(task)
        elif execution is None or pending is None:
            return  # of one that is paused, or whose workflow is not served here
        elif task.outcome is not None:
            self._answered(execution, pending, task)
        elif is_lost:
            self._cut_short(execution, pending, task, is_crash=True)
        elif not (pending.running or execution.is_paused):
            self._started(self._engine.open(execution_key), execution, n)

    def _discard(self, task: Standing) -> None:
        execution, n, attempt = task.key
        if self._elsewhere.is_made((execution, n), attempt):
            del self._elsewhere.open[execution, n]
        write = self._engine.open().write
        write.tasks_gone = [*write.tasks_gone, (*task.key, False)]

    def _started(self, turn: Turn, execution: Execution, n: int, ago_ms: int = 0) -> None:
        execution.attempt_started(turn, n, self._engine.now_ms() - ago_ms, there=True)

    def _answered(self, execution: Execution, pending: Pending, task: Standing) -> None:
        _, n, number = task.key
        outcome = msgspec.json.decode(task.outcome or "", type=Outcome)
        if outcome.ok is UNSET and outcome.error is UNSET:
            self._cut_short(execution, pending, task, is_crash=False)
            return
        if not pending.running:
            self._started(self._engine.open(execution.key), execution, n, outcome.ran_ms)
        function = pending.function
        assert isinstance(function, Activity)
        attempt = Attempt((execution.key, n), number, execution.id, function, pending.input)
        if outcome.details is not UNSET:
            attempt.details = bytes(outcome.details)
        if outcome.error is not UNSET:
            self._engine.outcomes.add(attempt, None, failures.retell(outcome.error))
        elif outcome.ok is not UNSET:
            self._engine.outcomes.add(attempt, bytes(outcome.ok), None)

    def _cut_short(
        self, execution: Execution, pending: Pending, task: Standing, *, is_crash: bool
    ) -> None:
        """Go on with a call whose attempt has no outcome, for its worker has ended."""
        _, n, number = task.key
        key, engine = (execution.key, n), self._engine
        turn = engine.open(execution.key)
        if not pending.running:
            self._started(turn, execution, n)
        self._elsewhere.ended(key, number, turn.write, is_open=True)
        if execution.is_paused:
            pending.crashes += is_crash
            return  # it is taken up when the pause ends
        if engine.workshop.is_too_often(pending.crashes + is_crash):
            turn.effects.append((self._reload, (execution, key)))
            return
        pending.crashes += is_crash
        crashes.take_up(execution, turn, n, engine.now_ms())
        turn.run()

    def _reload(self, execution: Execution, crashed: Key) -> None:
        """Take an execution up as after a restart: one of its calls is not tried again."""
        engine, open_ = self._engine, self._elsewhere.open
        if not engine.commits.is_empty:
            engine.after_commit(self._reload, execution, crashed)
            return
        kept = {key: open_[key] for key in self._elsewhere.of(execution.key)}
        engine.let_go(execution)
        open_.update(kept)
        self._elsewhere.crashed.add(crashed)
        try:
            engine.nursery.load(engine.store.get(execution.key))
        finally:
            self._elsewhere.crashed.discard(crashed)
