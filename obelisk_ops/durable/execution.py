"""
One execution in memory: its machine, its place in the log, and what has reached it.

Everything that happens to it is a *turn*: a response goes in, commands come out, and
both become one Write. What must be seen outside (an activity starting, a timer armed,
a caller answered) is put aside as effects, run after the Write is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from obelisk_ops.core import events, failures, retry
from obelisk_ops.core.events import KINDS, Body, Event, Returned, encode_bytes
from obelisk_ops.core.ports import InboxItem, LogRow, Result, State, StateChange, StateRow
from obelisk_ops.core.requests import Signal as SignalBody
from obelisk_ops.durable import outside
from obelisk_ops.durable.flow.functions import Activity, Workflow
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.flow.promise import UNKNOWN
from obelisk_ops.durable.inbox import Inbox
from obelisk_ops.durable.ports import Owner
from obelisk_ops.durable.turn import Turn
from obelisk_ops.durable.work import crashes, starting

#: timers that are no calls: the end of a workflow's timeout, the start of a scheduled one
DEADLINE, START = 0, -1


class Execution:
    """See the module. Used by the engine's thread alone."""

    def __init__(
        self, owner: Owner, row: StateRow, function: Workflow[Any, Any], created: events.Created
    ) -> None:
        self.row = row
        self.key = row.key
        self.id = row.id
        self.state = row.state
        self.function = function
        self.created = created
        self.machine = Machine(
            row.id, function, created, at=row.created_at, host=self, guard=owner.guard
        )
        self.inbox = Inbox()
        self.is_paused, self.waits = False, owner.waits(function)
        self._owner = owner
        self._version, self._now = 0, row.created_at
        self._is_new, self._deadline = False, 0
        self._turn: Turn | None = None
        self._log: list[LogRow] = []

    # -- turns ---------------------------------------------------------------------

    def begin(self, turn: Turn, now_ms: int) -> None:
        """Create the execution: its first events, as far as its code gets."""
        self._is_new = True
        self._enter(turn, now_ms)
        self._append(self.created)
        self._limit(None)
        self.machine.at = self._now  # its code begins now, whenever it was asked for
        self.machine.start()
        self._leave()

    def resume(
        self, turn: Turn, log: list[Event], inbox: Mapping[int, InboxItem], now_ms: int,
        *notes: Body, deadline: int | None = None,
    ) -> None:  # fmt: skip
        """
        Append *notes*, replay the log, and go on from where it ends, until *deadline*.

        Raises:
            Nondeterminism, CrashLoop, ConfigError: It cannot go on; nothing was written.
        """
        self._version, self._now = len(log), log[-1].at
        self._enter(turn, now_ms)
        for note in notes:
            self._append(note)
        self.machine.at = self._now  # for code that begins here, not for what has begun
        self.machine.replay(log[1:], inbox)
        self._owner.take_over(self)
        self.inbox.load(inbox, self.machine)
        self._limit(deadline)
        self._go_on()

    def pause(self, turn: Turn, now_ms: int, how: events.Paused) -> None:
        """Let no code run, and nothing start; what runs may end."""
        self._enter(turn, now_ms)
        self.is_paused = True
        for pending in self.machine.pending.values():
            pending.is_new = False  # to be taken up again
        self._append(how)
        self._change(State.PAUSED)

    def unpause(self, turn: Turn, now_ms: int) -> None:
        """Go on, with what has arrived meanwhile."""
        self._enter(turn, now_ms)
        self.is_paused = False
        self._append(events.Unpaused())
        self._limit(self._deadline or None)  # it may have rung meanwhile
        self._go_on()

    def cancel(self, turn: Turn, reason: str, now_ms: int) -> None:
        """Record that it is to be cancelled, and interrupt its code; once."""
        self._enter(turn, now_ms)
        if self.machine.cancelling is None:
            if reason:
                self._disarm(DEADLINE)
                self._deadline = 0
            body = events.CancelRequested(reason=reason)
            self._append(body)
            self.machine.cancel_requested(body, self._now)
            self._leave()

    def returned(self, turn: Turn, body: Returned, now_ms: int, told: object = UNKNOWN) -> None:
        """Record how an activity ended, and go on; *told* as in ``Machine.returned``."""
        pending = self.machine.pending[body.n]
        assert isinstance(pending.function, Activity)
        self._enter(turn, now_ms, replicated=pending.function.replicated)
        if self.is_paused:
            pending.running = False
            self._receive("result", body.n, events.encode(body))
            return
        self._append(body)
        self.machine.returned(body, self._now, told)
        self._leave()

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
            self.returned(turn, Returned(n=n, error=told), now_ms)
            return
        self._enter(turn, now_ms, replicated=pending.function.replicated)
        body = events.AttemptFailed(n, pending.attempt, told, self._now + wait)
        pending.note(body)
        self._append(body)
        self._wind(n, body.retry_at)

    def attempt_started(self, turn: Turn, n: int, now_ms: int, *, there: bool = False) -> None:
        """Record that an attempt starts, here once durable, or *there*; or put it off."""
        pending = self.machine.pending[n]
        assert isinstance(pending.function, Activity)
        self._enter(turn, now_ms, replicated=pending.function.replicated)
        if not (there or self._owner.reserve_slot(pending.function, (self.key, n))):
            pending.running = False
            starting.put_off(self, self._owner, turn, n, pending)
            return
        pending.attempt += 1
        pending.running, pending.retry_at = True, None
        self._append(events.AttemptStarted(n, pending.attempt, pending.crashes))
        if not there:
            self.later(self._owner.start_attempt, self, n, pending)

    def timer_fired(self, turn: Turn, n: int, now_ms: int) -> None:
        """Record that a timer fired, or that a signal did not come in time; go on."""
        self._enter(turn, now_ms)
        seq = self._receive("timer", n, "{}")
        self._disarm(n)
        self._append(events.TimerFired(n=n, seq=seq))
        self.machine.timer_fired(n, self._now)
        self._leave()

    def answered(self, turn: Turn, kind: str, n: int, outcome: str, now_ms: int) -> None:
        """Record how a child workflow ended, or a result from outside, and go on."""
        self._enter(turn, now_ms)
        self._receive(kind, n, outcome)
        self._deliver()

    def signalled(self, turn: Turn, body: SignalBody, now_ms: int) -> None:
        """Record a signal, and go on if its code waits for one of this name."""
        self._enter(turn, now_ms)
        if not self.inbox.has_signal(body.id):
            self._receive("signal", 0, msgspec.json.encode(body).decode())
            self._deliver()

    def later(self, call: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        """Do something once the turn is durable."""
        assert self._turn is not None
        self._turn.effects.append((call, args))

    def dissolve(self) -> None:
        """Be no more, now that all of it is durable; nothing is left for the collector."""
        self._turn = None
        self.machine.dispose()
        self.machine.dissolve()

    # -- Host: what the machine asks for -------------------------------------------

    def admit(self, n: int, pending: Pending) -> int:
        """See Host.admit."""
        turn, function = self._turn, pending.function
        assert turn is not None and isinstance(function, Activity)  # noqa: PT018
        pending.is_new = True
        if self.waits or function.replicated is not None:
            self._mind(turn, replicated=starting.asked(self._owner, function))
        return starting.admit(self, self._owner, turn, n, pending, function)

    def record(self, body: Body) -> None:
        """See Host.record."""
        assert self._turn is not None
        self._append(body)
        todo = _RECORDED.get(type(body))
        if todo is not None:
            todo(self, body, self._turn)

    # -- inside --------------------------------------------------------------------

    def _enter(self, turn: Turn, now_ms: int, *, replicated: bool | None = None) -> None:
        self._turn, self._log = turn, turn.write.log
        if self.waits or replicated is not None:
            self._mind(turn, replicated=replicated)
        self._now = max(now_ms, self._now, self.machine.at)
        turn.executions.append(self)

    def _mind(self, turn: Turn, *, replicated: bool | None = None) -> None:
        """Let a turn wait for the bucket, if its activity says so, or else the execution."""
        if self.waits if replicated is None else replicated:
            turn.waits = True

    def _leave(self) -> None:
        turn, machine = self._turn, self.machine
        assert turn is not None
        if machine.finished is not None:
            self._finished(machine.finished, turn)
            return
        state = State.RUNNING if machine.activities_open else State.BLOCKED
        if machine.cancelling is not None:
            state = State.CANCELLING
        if state is not self.state or self._is_new:
            self._change(state)
        if not machine.activities_open:
            turn.effects.append((self._owner.idle, (self,)))

    def _finished(self, outcome: events.Finished, turn: Turn) -> None:
        if self.state is State.FINISHED:
            return
        self._mind(turn)
        for n, pending in self.machine.left.items():
            self._drop(n, pending)
        if self.created.timeout:
            self._disarm(DEADLINE)
        failure = outcome.error
        if failure is UNSET:
            self._change(State.FINISHED, result=Result.OK)
        else:
            text = f"{failure.type}: {failure.message}"[:2000]
            self._change(State.FINISHED, result=Result(outcome.result or "error"), error=text)
        self._owner.ended(self, turn)

    def _change(
        self, state: State, *, result: Result | None = None, error: str | None = None
    ) -> None:
        assert self._turn is not None
        finished_at = self._now if state is State.FINISHED else None
        if self._is_new:
            self._is_new = False
            self.row = replace(
                self.row, state=state, result=result, finished_at=finished_at, error=error
            )
            self._turn.write.created = [*self._turn.write.created, self.row]
        elif state is not self.state:
            change = StateChange(
                key=self.key, state=state, result=result, finished_at=finished_at, error=error
            )
            self._turn.write.changed = [*self._turn.write.changed, change]
        self.state = state

    def _append(self, body: Body) -> None:
        text = encode_bytes(body).decode()
        self._log.append((self.key, self._version, self._now, KINDS[type(body)], text))
        self._version += 1

    # -- what arrives from outside ---------------------------------------------------

    def _receive(self, kind: str, n: int, body: str) -> int:
        assert self._turn is not None
        seq = self.inbox.add(InboxItem(kind, n, self._now, body))
        row = (self.key, seq, kind, n, self._now, body)
        self._turn.write.inbox = [*self._turn.write.inbox, row]
        return seq

    def _deliver(self) -> None:
        """Tell the code what it waits for, in the order of arrival, as far as it is there."""
        if self.is_paused:
            return
        while self.machine.finished is None:
            found = self.inbox.take(self.machine.pending, self.machine.listening)
            if found is None:
                break
            self._tell(*found)
        self._leave()

    def _await_signal(self, body: events.SignalAwaited, turn: Turn) -> None:
        if body.until:
            self._set_alarm(body.n, body.until)
        turn.follow.append((self._deliver, ()))  # it may be there

    def _tell(self, seq: int, n: int, item: InboxItem) -> None:
        machine = self.machine
        if why_not := outside.why_not(machine.pending[n], item):
            self._append(events.SetAside(n=n, seq=seq, error=why_not))
            self.inbox.forget(item)
            self.later(outside.warn, self.id, n, item.kind, why_not)
            return
        match item.kind:
            case "signal":
                if machine.pending[n].due:
                    self._disarm(n)
                self._append(events.SignalReceived(n=n, seq=seq))
                machine.signal_received(n, seq, item.body, self._now)
            case "stub":
                self._append(events.StubAnswered(n=n, seq=seq))
                machine.stub_answered(n, item.body, self._now)
            case "child":
                self._append(events.ChildFinished(n=n, seq=seq))
                machine.child_finished(n, item.body, self._now)
            case _:
                body = msgspec.json.decode(item.body, type=Returned)
                self._append(body)
                machine.returned(body, self._now)

    # -- alarms and attempts -----------------------------------------------------------

    def _wind(self, n: int, due: int) -> None:
        self.later(self._owner.arm, self, n, due)

    def _set_alarm(self, n: int, due: int) -> None:
        assert self._turn is not None
        self._turn.write.timers = [*self._turn.write.timers, (self.key, n, due)]
        self._wind(n, due)

    def _disarm(self, n: int) -> None:
        assert self._turn is not None
        self._turn.write.timers_done = [*self._turn.write.timers_done, (self.key, n)]
        self.later(self._owner.cancel_attempt, self, n)

    def _limit(self, deadline: int | None) -> None:
        """Let the workflow's timeout go on, or begin with its code."""
        if deadline is not None:
            self._deadline = deadline
            self._wind(DEADLINE, deadline)
        elif self.created.timeout and self.machine.cancelling is None:
            self._deadline = self._now + self.created.timeout
            self._set_alarm(DEADLINE, self._deadline)

    def _drop(self, n: int, pending: Pending) -> None:
        if pending.due:
            self._disarm(n)
        elif isinstance(pending.function, Activity):
            self.later(self._owner.cancel_attempt, self, n)

    def _go_on(self) -> None:
        """Take up what was unanswered when the code last ran."""
        self._deliver()
        for n, pending in list(self.machine.pending.items()):
            if not pending.is_new:
                self._take_up(n, pending)
            pending.is_new = False

    def _take_up(self, n: int, pending: Pending) -> None:
        assert self._turn is not None
        if isinstance(pending.function, Activity):
            self._take_up_activity(n, pending, self._turn)
        elif isinstance(pending.function, Workflow) and pending.cancelling:
            self._owner.cancel_child(self, n, self._turn)
        elif pending.due:
            self._wind(n, pending.due)

    def _take_up_activity(self, n: int, pending: Pending, turn: Turn) -> None:
        assert isinstance(pending.function, Activity)
        if pending.retry_at is not None:
            self._wind(n, pending.retry_at)
        elif not pending.running:
            self._mind(turn, replicated=pending.function.replicated)
            self.later(self._owner.start_soon, self, n)
        elif not self._owner.is_running(self.key, n, pending):
            crashes.take_up(self, turn, n, self._now)


_RECORDED: dict[type[Any], Callable[[Execution, Any, Turn], None]] = {
    events.TimerSet: lambda self, body, _: self._set_alarm(body.n, body.until),
    events.ChildCreated: lambda self, body, turn: self._owner.create_child(self, body, turn),
    events.ChildCancel: lambda self, body, turn: self._owner.cancel_child(self, body.n, turn),
    events.SignalAwaited: lambda self, body, turn: self._await_signal(body, turn),
    events.Scheduled: lambda self, body, turn: self._owner.schedule(body, turn),
    events.Cancelled: lambda self, body, _: self._drop(body.n, self.machine.pending[body.n]),
}
