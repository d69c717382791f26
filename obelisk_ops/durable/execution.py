"""
One execution in memory: its machine, its place in the log, and who waits for it.

Everything that happens to it is a *turn*: a response goes in, commands come out, and
both become one Write. What must be seen outside (an activity starting, a timer armed,
a caller answered) is put aside as effects, run after the Write is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import UNSET

from obelisk_ops.core import events, failures, retry
from obelisk_ops.core.events import KINDS, Body, Event, Failure
from obelisk_ops.core.ports import InboxItem, Result, State, StateChange, StateRow, Write
from obelisk_ops.durable.functions import Activity, Workflow
from obelisk_ops.durable.machine import Machine
from obelisk_ops.durable.pending import Pending
from obelisk_ops.errors import OpsError

Effect = tuple[Callable[..., None], tuple[Any, ...]]


@dataclass(slots=True)
class Turn:
    """
    One Write in the making.

    Attributes:
        write: Its rows.
        effects: What happens once it is durable.
        follow: What still belongs to the same Write, done when the code at hand waits.
        acks: Who is told when it is durable, or that it never will be.
        executions: Whose rows it holds.
    """

    write: Write
    effects: list[Effect] = field(default_factory=list)
    follow: deque[Effect] = field(default_factory=deque)
    acks: list[asyncio.Future[None]] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)


class Owner(Protocol):
    """What an execution needs of its engine."""

    def reserve_slot(self, key: int, n: int, pending: Pending) -> bool:
        """Return whether an attempt can start now; if so, its place is taken."""
        ...

    def start_attempt(self, execution: Execution, n: int, pending: Pending) -> None:
        """Run an attempt that is on record as started."""
        ...

    def start_soon(self, execution: Execution, n: int) -> None:
        """Record and start the next attempt."""
        ...

    def wait_for_slot(self, execution: Execution, n: int) -> None:
        """Record and start the next attempt when there is room."""
        ...

    def cancel_attempt(self, execution: Execution, n: int) -> None:
        """Stop caring for an attempt, or a timer."""
        ...

    def retry_later(self, execution: Execution, n: int, retry_at: int) -> None:
        """Record and start the next attempt at *retry_at*, UTC milliseconds."""
        ...

    def arm_timer(self, execution: Execution, n: int, due: int) -> None:
        """Fire a timer at *due*, UTC milliseconds."""
        ...

    def create_child(self, parent: Execution, body: events.ChildCreated, turn: Turn) -> None:
        """Begin a child workflow in the same turn."""
        ...

    def ended(self, execution: Execution, turn: Turn) -> None:
        """Tell who waits, and the parent in the same turn."""
        ...


class Execution:
    """See the module. Used by the engine's thread alone."""

    def __init__(
        self,
        owner: Owner,
        row: StateRow,
        function: Workflow[Any, Any],
        created: events.Created,
    ) -> None:
        self.row = row
        self.key = row.key
        self.id = row.id
        self.state = row.state
        self.function = function
        self.machine = Machine(row.id, function, created, at=row.created_at, host=self)
        self.waiters: list[asyncio.Future[None]] = []
        self.inbox_seq = 0
        self._owner = owner
        self.created = created
        self._version = 0
        self._now = row.created_at
        self._is_new = False
        self._turn: Turn | None = None

    # -- turns ---------------------------------------------------------------------

    def begin(self, turn: Turn, now_ms: int) -> None:
        """Create the execution: its first events, as far as its code gets."""
        self._is_new = True
        self._enter(turn, now_ms)
        self._append("created", self.created)
        self._drive(self.machine.start)

    def resume(
        self, turn: Turn, log: list[Event], inbox: dict[int, InboxItem], now_ms: int
    ) -> None:
        """
        Replay the log, and go on from where it ends.

        Raises:
            Nondeterminism: The code does not fit the log; nothing was written.
        """
        self._version = len(log)
        self.inbox_seq = max(inbox, default=0)
        self._enter(turn, now_ms)
        was_parked = self.state is State.PARKED
        self.machine.replay(log[1:], inbox)
        if was_parked:
            self._append("resumed", events.Resumed())
        for n, pending in self.machine.pending.items():
            if not pending.is_new:
                self._go_on(n, pending)
        self._leave()

    def park(self, turn: Turn, error: OpsError, log: list[Event], now_ms: int) -> None:
        """Record that the code does not fit the log, unless that is the last thing known."""
        self._version = len(log)
        if log[-1].kind == "parked":
            return
        self._enter(turn, now_ms)
        told = Failure(type="Nondeterminism", message=error.message)
        self._append("parked", events.Parked(error=told))
        self._change(State.PARKED, error=error.message)

    def returned(self, turn: Turn, body: events.Returned, now_ms: int) -> None:
        """Record how an activity ended, and go on."""
        self._enter(turn, now_ms)
        self._append("returned", body)
        self._drive(self.machine.returned, body, self._now)

    def failed(
        self, turn: Turn, n: int, error: BaseException, draw: float, now_ms: int
    ) -> None:
        """Record a failed attempt: tried again if the policy says so, else the outcome."""
        pending = self.machine.pending[n]
        assert isinstance(pending.function, Activity)
        policy = pending.function.activity_options.policy
        wait = retry.wait_ms(policy, pending.failures + 1, error, draw)
        told = failures.record(error)
        if wait is None:
            self.returned(turn, events.Returned(n=n, error=told), now_ms)
        else:
            self._attempt_failed(turn, n, told, wait, now_ms)

    def _attempt_failed(
        self, turn: Turn, n: int, error: Failure, wait_ms: int, now_ms: int
    ) -> None:
        pending = self.machine.pending[n]
        self._enter(turn, now_ms)
        pending.failures += 1
        pending.running, pending.retry_at = False, self._now + wait_ms
        failed = events.AttemptFailed(
            n=n, attempt=pending.attempt, error=error, retry_at=pending.retry_at
        )
        self._append("attempt_failed", failed)
        turn.effects.append((self._owner.retry_later, (self, n, pending.retry_at)))

    def attempt_started(self, turn: Turn, n: int, now_ms: int) -> None:
        """Record that an attempt starts, which it does once this is durable."""
        self._enter(turn, now_ms)
        self._start_next(n, self.machine.pending[n])

    def timer_fired(self, turn: Turn, n: int, now_ms: int) -> None:
        """Record that a timer fired, and go on."""
        self._enter(turn, now_ms)
        seq = self._receive("timer", n, "{}")
        turn.write.timers_done = [*turn.write.timers_done, (self.key, n)]
        self._append("timer_fired", events.TimerFired(n=n, seq=seq))
        self._drive(self.machine.timer_fired, n, self._now)

    def child_finished(self, turn: Turn, n: int, outcome: str, now_ms: int) -> None:
        """Record how a child workflow ended, and go on."""
        self._enter(turn, now_ms)
        seq = self._receive("child", n, outcome)
        self._append("child_finished", events.ChildFinished(n=n, seq=seq))
        self._drive(self.machine.child_finished, n, outcome, self._now)

    # -- Host: what the machine asks for -------------------------------------------

    def admit(self, n: int, pending: Pending) -> int:
        """See Host.admit."""
        assert self._turn is not None
        pending.is_new = True
        if self._owner.reserve_slot(self.key, n, pending):
            self._turn.effects.append((self._owner.start_attempt, (self, n, pending)))
            return 1
        self._turn.effects.append((self._owner.wait_for_slot, (self, n)))
        return 0

    def record(self, body: Body) -> None:
        """See Host.record."""
        assert self._turn is not None
        self._append(KINDS[type(body)], body)
        if type(body) is events.Intended:
            return
        match body:
            case events.TimerSet():
                timer = (self.key, body.n, body.until)
                self._turn.write.timers = [*self._turn.write.timers, timer]
                self._turn.effects.append((self._owner.arm_timer, (self, body.n, body.until)))
            case events.ChildCreated():
                self._owner.create_child(self, body, self._turn)
            case events.Cancelled():
                self._cancelled(body.n)
            case _:
                pass

    # -- inside --------------------------------------------------------------------

    def _enter(self, turn: Turn, now_ms: int) -> None:
        self._turn = turn
        self._now = max(self._now, now_ms, self.machine.at)
        turn.executions.append(self)

    def _drive(self, step: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        step(*args)
        self._leave()

    def _leave(self) -> None:
        turn = self._turn
        assert turn is not None
        outcome = self.machine.finished
        if outcome is not None:
            self._finished(outcome, turn)
            return
        state = State.RUNNING if self.machine.activities_open else State.BLOCKED
        if state is not self.state or self._is_new:
            self._change(state)

    def _finished(self, outcome: events.Finished, turn: Turn) -> None:
        failure = outcome.error
        if failure is UNSET:
            self._change(State.FINISHED, result=Result.OK)
        else:
            self._change(
                State.FINISHED,
                result=Result.ERROR,
                error=f"{failure.type}: {failure.message}"[:2000],
            )
        self._owner.ended(self, turn)

    def _change(
        self, state: State, *, result: Result | None = None, error: str | None = None
    ) -> None:
        assert self._turn is not None
        finished_at = self._now if state is State.FINISHED else None
        if self._is_new:
            self._is_new = False
            self.row = StateRow(
                key=self.key, id=self.id, parent=self.row.parent, parent_n=self.row.parent_n,
                function=self.row.function, state=state, result=result,
                created_at=self.row.created_at, finished_at=finished_at, error=error,
            )  # fmt: skip
            self._turn.write.created = [*self._turn.write.created, self.row]
        elif state is not self.state:
            change = StateChange(
                key=self.key, state=state, result=result, finished_at=finished_at, error=error
            )
            self._turn.write.changed = [*self._turn.write.changed, change]
        self.state = state

    def _append(self, kind: str, body: Body) -> None:
        assert self._turn is not None
        row = (self.key, self._version, self._now, kind, events.encode(body))
        self._turn.write.log.append(row)
        self._version += 1

    def _receive(self, kind: str, n: int, body: str) -> int:
        assert self._turn is not None
        self.inbox_seq += 1
        row = (self.key, self.inbox_seq, kind, n, self._now, body)
        self._turn.write.inbox = [*self._turn.write.inbox, row]
        return self.inbox_seq

    def _cancelled(self, n: int) -> None:
        assert self._turn is not None
        if self.machine.pending[n].function is None:
            done = (self.key, n)
            self._turn.write.timers_done = [*self._turn.write.timers_done, done]
        self._turn.effects.append((self._owner.cancel_attempt, (self, n)))

    def _go_on(self, n: int, pending: Pending) -> None:
        """Take up a call that was unanswered when the last process ended."""
        assert self._turn is not None
        if pending.function is None:
            self._turn.effects.append((self._owner.arm_timer, (self, n, pending.due)))
        elif isinstance(pending.function, Workflow):
            return  # the child goes on by itself, and tells us
        elif pending.retry_at is not None:
            self._turn.effects.append((self._owner.retry_later, (self, n, pending.retry_at)))
        elif pending.running:
            self._start_next(n, pending)  # its outcome is unknown: at least once
        else:
            self._turn.effects.append((self._owner.start_soon, (self, n)))

    def _start_next(self, n: int, pending: Pending) -> None:
        assert self._turn is not None
        if not self._owner.reserve_slot(self.key, n, pending):
            pending.running = False
            self._turn.effects.append((self._owner.wait_for_slot, (self, n)))
            return
        pending.attempt += 1
        pending.running, pending.retry_at = True, None
        self._append("attempt_started", events.AttemptStarted(n=n, attempt=pending.attempt))
        self._turn.effects.append((self._owner.start_attempt, (self, n, pending)))
