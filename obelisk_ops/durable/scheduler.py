"""
The engine's one loop: take what arrived, drive workflows, commit, then act.

All arrivals of one round of the event loop become one commit (group commit), made on
this thread; ARCHITECTURE.md says why. Nothing that the outside can see happens before
its commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import msgspec
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import LogStore, State, StateRow
from obelisk_ops.durable.alarms import Alarms
from obelisk_ops.durable.attempt import Attempt
from obelisk_ops.durable.attempts import Attempts
from obelisk_ops.durable.commits import Commits, answer, as_ops_error, closed_error, refuse
from obelisk_ops.durable.execution import Execution, Turn
from obelisk_ops.durable.functions import Activity, Workflow
from obelisk_ops.durable.log import log
from obelisk_ops.durable.pending import Pending
from obelisk_ops.durable.registry import Registry
from obelisk_ops.durable.waiting import Waiting
from obelisk_ops.errors import Nondeterminism, OpsError


class Scheduler:
    """See the module. Everything here runs on the loop's thread."""

    def __init__(
        self,
        store: LogStore,
        clock: Clock,
        registry: Registry,
        *,
        threads: int,
        storage_timeout_s: float,
    ) -> None:
        self.store = store
        self._clock = clock
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._alarms = Alarms(self._loop, clock)
        self._commits = Commits(
            store,
            clock,
            timeout_s=storage_timeout_s,
            refused=self._refused,
            failed=self._fail_waiters,
        )
        self._attempts = Attempts(
            self._loop, self._attempt_ended, self._room_freed, threads=threads
        )
        self._jitter = Random()  # noqa: S311 - spreads retries, guards nothing
        self._live: dict[str, Execution] = {}
        self._by_key: dict[int, Execution] = {}
        self._unserved: dict[str, list[StateRow]] = {}
        self._last_key = store.last_key()
        self._arrivals: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._waiting = Waiting()
        self._next_round: asyncio.Handle | None = None
        self.is_closed = False

    # -- from outside ----------------------------------------------------------------

    def post(self, call: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        """Do something in the next round, together with all else that arrives."""
        if not self.is_closed:
            self._arrivals.append((call, args))
            self._schedule()

    @property
    def is_settled(self) -> bool:
        """Whether nothing happens any more until something arrives, or comes due."""
        is_quiet = not self._arrivals and self._next_round is None
        return is_quiet and self._commits.is_empty and self._attempts.is_idle

    def check(self) -> None:
        """Raise what the store failed with, if it has failed for good."""
        self._commits.check()

    async def failed(self) -> None:
        """Wait until the store fails for good, and raise that."""
        await self._commits.has_failed.wait()
        self.check()

    def live(self, execution_id: str) -> Execution | None:
        """Return an unfinished execution that is driven here."""
        return self._live.get(execution_id)

    def begin(self, execution_id: str, created: events.Created) -> Turn:
        """Create an execution; return the turn, for what must be atomic with it."""
        turn = self._commits.open(self._last_key + 1)
        try:
            self._create(execution_id, created, turn, parent=None)
            self._run(turn)
        except BaseException:
            self._commits.drop(turn)  # half a turn must not become durable
            for execution in turn.executions:
                self._let_go(execution)
            raise
        self._schedule()
        return turn

    def nothing(self) -> Turn:
        """Return an empty turn, to be told when everything so far is durable."""
        self._schedule()
        return self._commits.open()

    def recover(self) -> None:
        """Go on with every unfinished execution whose workflow is served here."""
        for row in self.store.unfinished():
            if row.id not in self._live:
                self._unserved.setdefault(row.function, []).append(row)
        self.adopt(list(self._unserved))

    def adopt(self, functions: Sequence[str]) -> None:
        """Go on with unfinished executions of workflows that are served from now on."""
        for name in functions:
            function = self._registry.get(name)
            if function is None:
                continue
            for row in self._unserved.pop(name, []):
                self.post(self._resume, row, function)

    async def close(self, grace_s: float) -> None:
        """Start nothing new, let attempts end for *grace_s* seconds, commit the rest."""
        try:
            await self._attempts.close(grace_s)
        finally:
            self._alarms.stop()
            if self._arrivals or not self._commits.is_empty:
                self._round()
            self.is_closed = True  # a thread that lingers may still report, to nobody
            self._commits.close()
            self._fail_waiters(closed_error())
            for execution in list(self._live.values()):
                self._let_go(execution)

    def _schedule(self) -> None:
        if self._next_round is None:
            self._next_round = self._loop.call_soon(self._round)

    # -- the round -------------------------------------------------------------------

    def _round(self) -> None:
        if self._next_round is not None:
            self._next_round.cancel()
            self._next_round = None
        arrivals = self._arrivals
        try:
            while arrivals:
                call, args = arrivals.popleft()
                call(*args)
        except BaseException as bug:
            # Half a turn must not become durable, and nobody may wait for ever.
            told = bug if isinstance(bug, Exception) else OpsError("the engine was interrupted")
            self._commits.fail(as_ops_error(told))
            raise
        self._commits.commit()

    def _refused(self, turn: Turn, error: OpsError) -> None:
        """Let go of executions whose memory is ahead of their log; a restart resumes them."""
        for execution in turn.executions:
            for waiter in execution.waiters:
                refuse(waiter, error)
            self._let_go(execution)

    def _let_go(self, execution: Execution) -> None:
        self._forget(execution)
        for n in execution.machine.pending:
            self.cancel_attempt(execution, n)
        execution.machine.dispose()

    def _is_live(self, execution: Execution) -> bool:
        return self._by_key.get(execution.key) is execution

    def _fail_waiters(self, error: OpsError) -> None:
        for execution in self._live.values():
            for waiter in execution.waiters:
                refuse(waiter, error)

    # -- what happens to executions --------------------------------------------------

    def _create(
        self,
        execution_id: str,
        created: events.Created,
        turn: Turn,
        *,
        parent: tuple[int, int] | None,
    ) -> None:
        self._last_key += 1
        now_ms = self._clock.now_ms()
        row = StateRow(
            key=self._last_key, id=execution_id, function=created.fn, state=State.PENDING,
            parent=parent[0] if parent else None, parent_n=parent[1] if parent else None,
            created_at=now_ms,
        )  # fmt: skip
        function = self._registry.get(created.fn)
        if function is None:
            turn.write.created = [*turn.write.created, row]
            turn.write.log.append((row.key, 0, now_ms, "created", events.encode(created)))
            turn.effects.append((self._note_unserved, (row,)))
            return
        execution = Execution(self, row, function, created)
        self._live[row.id] = self._by_key[row.key] = execution
        turn.follow.append((execution.begin, (turn, now_ms)))

    def _note_unserved(self, row: StateRow) -> None:
        self._unserved.setdefault(row.function, []).append(row)
        self.adopt([row.function])  # it may be served by now

    def _resume(self, row: StateRow, function: Workflow[Any, Any]) -> None:
        history = self.store.log(row.key)
        created = events.decode(history[0])
        execution = Execution(self, row, function, created)
        turn = self._commits.open(row.key)
        now_ms = self._clock.now_ms()
        try:
            execution.resume(turn, history, self.store.inbox(row.key), now_ms)
        except (Nondeterminism, msgspec.DecodeError, KeyError) as error:
            self._commits.drop(turn)
            self._park(row, function, created, history, error)
            return
        self._live[row.id] = self._by_key[row.key] = execution
        self._run(turn)
        # Later: a child that is resumed in the same round may end in it, and be unwritten.
        turn.effects.append((self._collect_children, (execution,)))

    def _park(
        self,
        row: StateRow,
        function: Workflow[Any, Any],
        created: events.Created,
        history: list[events.Event],
        error: Exception,
    ) -> None:
        reason = error if isinstance(error, OpsError) else Nondeterminism(
            f"execution {row.id!r}: its log cannot be read: {error}"
        )  # fmt: skip
        log.warning("execution_parked", execution_id=row.id, reason=reason.message)
        execution = Execution(self, row, function, created)
        execution.park(self._commits.open(row.key), reason, history, self._clock.now_ms())

    def _collect_children(self, parent: Execution) -> None:
        # A child may have ended while its parent was parked or not served.
        if not self._is_live(parent):
            return
        for n, pending in list(parent.machine.pending.items()):
            if not isinstance(pending.function, Workflow):
                continue
            row = self.store.find(parent.machine.call_id(n))
            if row is not None and row.state is State.FINISHED:
                outcome = self.store.log(row.key)[-1].body
                self.post(self._child_finished, parent, n, outcome)

    def _child_finished(self, parent: Execution, n: int, outcome: str) -> None:
        if self._is_live(parent) and n in parent.machine.pending:
            turn = self._commits.open(parent.key)
            parent.child_finished(turn, n, outcome, self._clock.now_ms())
            self._run(turn)

    def _attempt_ended(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> None:
        if self.is_closed:
            return
        self._arrivals.append((self._record_attempt, (attempt, result, error)))
        if self._attempts.is_idle and self._next_round is None:
            self._round()  # nothing else runs: nobody would share this commit
        else:
            self._schedule()

    def _record_attempt(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> None:
        key, n = attempt.key
        execution = self._by_key.get(key)
        pending = execution.machine.pending.get(n) if execution else None
        if execution is None or pending is None:
            return
        if pending.attempt != attempt.number or not pending.running:
            return  # a late result of an attempt that timed out: its place was taken
        turn = self._commits.open(key)
        now_ms = self._clock.now_ms()
        if error is None:
            assert result is not None
            execution.returned(turn, events.Returned(n=n, ok=Raw(result)), now_ms)
        else:
            execution.failed(turn, n, error, self._jitter.random(), now_ms)
        self._run(turn)

    def _start_next(self, execution: Execution, n: int) -> None:
        pending = execution.machine.pending.get(n)
        if self._is_live(execution) and pending is not None and not pending.running:
            turn = self._commits.open(execution.key)
            execution.attempt_started(turn, n, self._clock.now_ms())
            self._run(turn)

    def _fire(self, execution: Execution, n: int) -> None:
        if self._is_live(execution) and n in execution.machine.pending:
            turn = self._commits.open(execution.key)
            execution.timer_fired(turn, n, self._clock.now_ms())
            self._run(turn)

    def _room_freed(self) -> None:
        if self._waiting:
            self.post(self._fill_room)

    def _fill_room(self) -> None:
        for execution, n in self._waiting.take(self._attempts.has_room):
            self._start_next(execution, n)

    # -- Owner: what executions ask for ----------------------------------------------

    def reserve_slot(self, key: int, n: int, pending: Pending) -> bool:
        """See Owner.reserve_slot."""
        assert isinstance(pending.function, Activity)
        return self._attempts.reserve(pending.function, (key, n))

    def start_attempt(self, execution: Execution, n: int, pending: Pending) -> None:
        """See Owner.start_attempt."""
        assert isinstance(pending.function, Activity)
        self._attempts.start(
            Attempt(
                (execution.key, n), pending.attempt, execution.machine.call_id(n),
                pending.function, pending.input,
            )
        )  # fmt: skip

    def start_soon(self, execution: Execution, n: int) -> None:
        """See Owner.start_soon."""
        self.post(self._start_next, execution, n)

    def wait_for_slot(self, execution: Execution, n: int) -> None:
        """See Owner.wait_for_slot."""
        pending = execution.machine.pending.get(n)
        if pending is None or not isinstance(pending.function, Activity):
            return
        self._waiting.add(execution, n, is_async=pending.function.is_async)
        if self._attempts.can_reserve(pending.function, (execution.key, n)):
            self.post(self._fill_room)  # a place was freed while this became durable

    def cancel_attempt(self, execution: Execution, n: int) -> None:
        """See Owner.cancel_attempt."""
        self._attempts.cancel((execution.key, n))
        self._alarms.drop((execution.key, n))

    def retry_later(self, execution: Execution, n: int, retry_at: int) -> None:
        """See Owner.retry_later."""
        self._alarms.set((execution.key, n), retry_at, partial(self.start_soon, execution, n))

    def arm_timer(self, execution: Execution, n: int, due: int) -> None:
        """See Owner.arm_timer."""
        self._alarms.set((execution.key, n), due, partial(self.post, self._fire, execution, n))

    def create_child(self, parent: Execution, body: events.ChildCreated, turn: Turn) -> None:
        """See Owner.create_child."""
        created = events.Created(fn=body.fn, input=body.input, parent=parent.id)
        self._create(body.id, created, turn, parent=(parent.key, body.n))

    def ended(self, execution: Execution, turn: Turn) -> None:
        """See Owner.ended."""
        # Known until it is durable: a second request for it meanwhile attaches.
        turn.effects.append((self._answer_waiters, (execution,)))
        turn.effects.append((self._forget, (execution,)))
        parent = self._by_key.get(execution.row.parent or 0)
        if parent is not None and execution.machine.finished is not None:
            n = execution.row.parent_n
            outcome = events.encode(execution.machine.finished)
            now_ms = self._clock.now_ms()
            if n in parent.machine.pending:
                turn.follow.append((parent.child_finished, (turn, n, outcome, now_ms)))

    # -- inside ------------------------------------------------------------------------

    @staticmethod
    def _run(turn: Turn) -> None:
        while turn.follow:
            call, args = turn.follow.popleft()
            call(*args)

    def _answer_waiters(self, execution: Execution) -> None:
        for waiter in execution.waiters:
            answer(waiter)

    def _forget(self, execution: Execution) -> None:
        self._live.pop(execution.id, None)
        self._by_key.pop(execution.key, None)
