"""
The engine's one loop: take what arrived, drive workflows, commit, then act.

All arrivals of one round of the event loop become one commit (group commit), made on
this thread; ARCHITECTURE.md says why. Nothing that the outside can see happens before
its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.barrier import Barrier
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import State
from obelisk_ops.core.requests import Signal as SignalBody
from obelisk_ops.core.tasks import Board
from obelisk_ops.durable.alarms import Alarms
from obelisk_ops.durable.cold import Cold
from obelisk_ops.durable.commits import Commits, as_ops_error, closed_error
from obelisk_ops.durable.execution import DEADLINE, Execution
from obelisk_ops.durable.flow.attempt import Attempt
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.machine import new_guard
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.log import log
from obelisk_ops.durable.nursery import Nursery
from obelisk_ops.durable.offers import Offers
from obelisk_ops.durable.outcomes import Outcomes
from obelisk_ops.durable.promises import Promises
from obelisk_ops.durable.requests import Requests
from obelisk_ops.durable.roster import Roster
from obelisk_ops.durable.rounds import Rounds
from obelisk_ops.durable.schedules import Schedules
from obelisk_ops.durable.turn import Turn
from obelisk_ops.durable.work import starting
from obelisk_ops.durable.work.workshop import Workshop
from obelisk_ops.errors import OpsError

#: what is still to be sent when the engine is left may take so long
_LAST_BARRIER_S = 10.0
#: after so long a round commits; thousands of executions may be taken up at once
_ROUND_S = 1.0


class Scheduler:
    """See the module. Everything here runs on the loop's thread."""

    def __init__(
        self,
        store: ArchiveStore,
        clock: Clock,
        registry: Registry,
        barrier: Barrier,
        limits: Limits,
        board: Board | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.registry = registry
        self.roster = Roster()
        self.cold = Cold(store)
        self.alarms = Alarms(asyncio.get_running_loop(), clock)
        self.keep_loaded = limits.keep_loaded
        self._loop = asyncio.get_running_loop()
        self.guard = new_guard()
        self.promises = Promises(limits.replication, store, registry, self.roster)
        self.waits, self.lost = self.promises.waits, self.roster.refuse_all
        self.commits = Commits(store, clock, barrier, limits, self)
        self.holds, self.check_barrier = self.commits.holds, barrier.check
        self.nursery = Nursery(self)
        self.requests = Requests(self)
        self.workshop = Workshop(
            limits.bench, clock, self.alarms, report=self._attempt_ended, post=self.post,
            start_next=self._start_next,
        )  # fmt: skip
        workshop, self.offer = self.workshop, self.workshop.offer
        self.reserve_slot = workshop.enter if board is None else workshop.enter_beside
        self.offers = Offers(self, board)
        self._rounds = Rounds(self._loop, take=self._take_all, goes_on=self._goes_on)
        self._arrivals, self._schedule = self._rounds.arrivals, self._rounds.schedule
        self.outcomes = Outcomes(self, self._rounds)
        self.is_closed = False
        self.schedules = Schedules(self)
        self.served_elsewhere: frozenset[str] = frozenset()  # by other workers
        self.fellows = 0  # how many of those there are
        self.is_behind = False  # whether something is ours that is not gone on with yet

    # -- from outside ----------------------------------------------------------------

    def post(self, call: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        """Do something in the next round, together with all else that arrives."""
        if not self.is_closed:
            self._arrivals.append((call, args))
            self._schedule()

    def is_settled(self, *, with_attempts: bool = True) -> bool:
        """Tell whether nothing happens any more until something arrives, or comes due."""
        is_quiet = self._rounds.is_settled and self.commits.is_known
        return is_quiet and (self.workshop.is_idle or not with_attempts)

    def check(self) -> None:
        """Raise what the store failed with, if it has failed for good."""
        self.commits.check()

    async def failed(self) -> None:
        """Wait until the store fails for good, and raise that."""
        await self.commits.has_failed.wait()
        self.check()

    def now_ms(self) -> int:
        """Return the time, UTC milliseconds."""
        return self.clock.now_ms()

    def is_served(self, function: str) -> bool:
        """Tell whether somebody serves a workflow."""
        return self.registry.get(function) is not None or function in self.served_elsewhere

    def open(self, key: int = 0) -> Turn:
        """Return a new turn; it becomes durable with the next commit."""
        self._schedule()
        return self.commits.open(key)

    def after_commit(self, call: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        """Do something once all that is under way is on this disk."""
        self.open().effects.append((call, args))

    def fence(self, execution_id: str) -> Turn:
        """Return a turn that is seen once all is that may be said of an execution by now."""
        turn = self.open()
        turn.waits = self.promises.of(execution_id)
        return turn

    def do(self, turn: Turn, call: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        """Do something in a turn, and all that belongs to it; half a turn is none."""
        try:
            call(*args)
            turn.run()
        except BaseException:
            self.commits.drop(turn)
            for execution in turn.executions:
                self.let_go(execution)
            raise

    async def close(self, grace_s: float) -> None:
        """Start nothing new, let attempts end for *grace_s* seconds, commit the rest."""
        try:
            await self.workshop.close(grace_s)
        finally:
            self._rest()
            if self._arrivals or not self.commits.is_empty or self.workshop.has_news:
                self._rounds.go()
            while self._arrivals:
                self._rounds.go()
            self._rounds.stop()
            self.is_closed = True  # a thread that lingers may still report, to nobody
            if not await self.commits.gate.drained(_LAST_BARRIER_S):
                log.warning("unsent", reason=self.commits.gate.trouble or "it takes too long")
            self.stop()

    def stop(self) -> None:
        """Do nothing any more, not even commit; who waits is told. Twice is allowed."""
        self._rest()
        self.is_closed = True
        self.commits.close()
        self.roster.refuse_all(closed_error())
        for execution in self.roster:
            self.let_go(execution)
        self._rounds.collector.work()

    def _rest(self) -> None:
        """Do nothing by itself."""
        self.alarms.stop()
        self.offers.close()
        self.schedules.close()
        self._rounds.stop()

    # -- the round -------------------------------------------------------------------

    def _goes_on(self) -> bool:
        """Tell whether attempts have ended, and nobody else wants to go on before."""
        return self.outcomes.has_news and not self.commits.has_told and self.workshop.is_idle

    def _take_all(self) -> None:
        arrivals, until = self._arrivals, self._loop.time() + _ROUND_S
        try:
            while arrivals:
                call, args = arrivals.popleft()
                call(*args)
                if self._loop.time() >= until:
                    break  # the rest is the next round's: a lease is to be renewed meanwhile
        except BaseException as bug:
            # Half a turn must not become durable, and nobody may wait for ever.
            told = bug if isinstance(bug, Exception) else OpsError("the engine was interrupted")
            self.commits.fail(as_ops_error(told))
            raise
        if self.workshop.has_news:
            self.workshop.ride(self.commits.open().write)
        self.commits.commit()
        if self.commits.is_empty:
            self.cold.settled()
            for execution in self.roster.longest_idle(self.keep_loaded):
                self._unload(execution)

    def _unload(self, execution: Execution) -> None:
        if execution.state is State.BLOCKED:
            self.roster.drop(execution)
            execution.dissolve()

    # -- Audience: what commits tell -------------------------------------------------

    def refused(self, turn: Turn, error: OpsError) -> None:
        """See Audience.refused; their memory is ahead of their log: a restart resumes them."""
        self.cold.settled()
        for call, args in turn.effects:
            if call == self.start_attempt:
                self.workshop.leave(args[2].function)  # it does not start
        for execution in turn.executions:
            self.roster.refuse(execution.id, error)
            self.let_go(execution)

    def late(self, turn: Turn, error: OpsError) -> None:
        """See Audience.late."""
        for execution in turn.executions:
            self.roster.refuse(execution.id, error)

    def let_go(self, execution: Execution) -> None:
        """Forget an execution; its log is all that remains."""
        self.roster.drop(execution)
        self.workshop.elsewhere.forget(execution.key)
        for n in execution.machine.pending:
            self.cancel_attempt(execution, n)
        execution.machine.dispose()

    # -- what happens to executions --------------------------------------------------

    def ring(self, key: int, n: int) -> None:
        """Do what an alarm was set for: fire a timer, or start the next attempt."""
        execution = self.roster.get(key)
        if execution is None:
            self.nursery.wake(key, n)
        elif execution.is_paused or execution.machine.finished is not None:
            return  # it is taken up again when the pause ends
        elif n == DEADLINE:
            turn = self.commits.open(key)
            execution.cancel(turn, "timeout", self.now_ms())
            turn.run()
        elif n in execution.machine.pending:
            if isinstance(execution.machine.pending[n].function, Activity):
                self._start_next(execution, n)
            else:
                turn = self.commits.open(key)
                execution.timer_fired(turn, n, self.now_ms())
                turn.run()

    def _attempt_ended(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> None:
        if attempt.on_end is not None:
            attempt.on_end(attempt, result, error)  # of a task that another owner has offered
        elif not self.is_closed:
            self.outcomes.add(attempt, result, error)

    def _start_next(self, execution: Execution, n: int) -> None:
        if not self.roster.holds(execution):
            return  # it has ended, or is unloaded
        if (execution.key, n) in self.workshop.elsewhere.open:
            return  # it is offered to other workers
        pending = execution.machine.pending.get(n)
        if pending is not None and not pending.running and not execution.is_paused:
            turn = self.commits.open(execution.key)
            execution.attempt_started(turn, n, self.now_ms())
            turn.run()

    # -- Owner: what executions ask for ----------------------------------------------

    def start_attempt(self, execution: Execution, n: int, pending: Pending) -> None:
        """See Owner.start_attempt."""
        assert isinstance(pending.function, Activity)
        self.workshop.start(
            Attempt(
                (execution.key, n), pending.attempt, execution.id, pending.function,
                pending.input,
            )
        )  # fmt: skip

    def take_over(self, execution: Execution) -> None:
        """See Owner.take_over."""
        starting.check_open(self, execution.machine.pending.values())
        was_parked = execution.row.state is State.PARKED
        for n, pending in execution.machine.pending.items():
            if pending.running and not self.is_running(execution.key, n, pending):
                call_id = execution.machine.call_id(n)
                key = (execution.key, n)
                self.workshop.note_crash(key, call_id, pending, was_parked=was_parked)
        self.offers.resumed(execution)

    def is_running(self, key: int, n: int, pending: Pending) -> bool:
        """See Owner.is_running."""
        if self.workshop.is_running((key, n), pending.attempt):
            return True
        to_come = self.commits.effects_to_come(self.start_attempt)
        return any((execution.key, number) == (key, n) for execution, number, _ in to_come)

    def start_soon(self, execution: Execution, n: int) -> None:
        """See Owner.start_soon."""
        self.post(self._start_next, execution, n)

    def wait_for_slot(self, execution: Execution, n: int) -> None:
        """See Owner.wait_for_slot."""
        pending = execution.machine.pending.get(n)
        if pending is None or not isinstance(pending.function, Activity):
            return
        self.workshop.wait(execution, n, pending.function)

    def cancel_attempt(self, execution: Execution, n: int) -> None:
        """See Owner.cancel_attempt."""
        self.workshop.drop((execution.key, n))
        self.alarms.drop((execution.key, n))

    def arm(self, execution: Execution, n: int, due: int) -> None:
        """See Owner.arm."""
        self.set_alarm(execution.key, n, due, since_ms=execution.machine.at)

    def set_alarm(self, key: int, n: int, due: int, *, since_ms: int = 0) -> None:
        """Ring at *due*, UTC milliseconds; the alarm holds no execution in memory."""
        call = partial(self.post, self.ring, key, n)
        self.alarms.set((key, n), due, call, since_ms=since_ms)

    def create_child(self, parent: Execution, body: events.ChildCreated, turn: Turn) -> None:
        """See Owner.create_child."""
        created = self.registry.created(body.fn, body.input, parent=parent.id)
        self.nursery.create(body.id, created, turn, parent=(parent.key, body.n))

    def cancel_child(self, parent: Execution, n: int, turn: Turn) -> None:
        """See Owner.cancel_child."""
        self.nursery.cancel_child(parent.machine.pending[n].child, turn)

    def schedule(self, body: events.Scheduled, turn: Turn) -> None:
        """See Owner.schedule."""
        created = self.registry.created(body.fn, body.input, start_at=body.start_at)
        self.nursery.create(body.id, created, turn, parent=None)

    def idle(self, execution: Execution) -> None:
        """See Owner.idle."""
        self.roster.rest(execution)

    def ended(self, execution: Execution, turn: Turn) -> None:
        """See Owner.ended."""
        outcome = execution.machine.finished
        assert outcome is not None
        if outcome.continued:
            self._succeed(execution, outcome.continued, turn)
        else:
            # Known until it is durable: a second request for it meanwhile attaches.
            turn.effects.append((self.roster.tell, (execution.id, outcome)))
            self.nursery.tell_parent(execution.row, events.encode(outcome), turn)
        turn.effects += [(self.roster.drop, (execution,)), (execution.dissolve, ())]

    def _succeed(self, execution: Execution, successor: str, turn: Turn) -> None:
        row = execution.row
        given = execution.machine.successor
        assert given is not None
        created = self.registry.created(
            row.function, Raw(given), parent=execution.created.parent, continues=row.id
        )
        parent = None if row.parent is None else (row.parent, row.parent_n or 0)
        self.nursery.create(successor, created, turn, parent=parent)
        turn.effects.append((self.roster.hand_on, (execution.id, successor)))
        for signal in execution.inbox.signals():
            turn.follow.append((self._pass_on, (successor, signal, turn)))

    def _pass_on(self, successor: str, signal: SignalBody, turn: Turn) -> None:
        execution = self.roster.find(successor)
        if execution is None:
            return
        outcome = execution.machine.finished
        if outcome is None:
            execution.signalled(turn, signal, self.now_ms())
        elif outcome.continued:  # at once; what it goes on as begins before this is done
            turn.follow.append((self._pass_on, (outcome.continued, signal, turn)))
