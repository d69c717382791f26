"""
One execution's code, driven event by event.

The machine is deterministic: the same responses in the same order make the code ask
for the same commands. While there is history, a command is compared with the one on
record; after that it is handed to the host, which records it. No clock, no disk.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextvars import Context
from functools import cached_property, partial
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from obelisk_ops.core import events, failures, ids
from obelisk_ops.core.events import (
    Body,
    CancelRequested,
    ChildFinished,
    Event,
    Failure,
    Finished,
    Returned,
    SignalReceived,
    StubAnswered,
    TimerFired,
)
from obelisk_ops.core.fold import began_at
from obelisk_ops.core.interruptions import Cancelled, TimedOut
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.durable.flow.asking import Asking
from obelisk_ops.durable.flow.functions import Activity, Workflow, driver
from obelisk_ops.durable.flow.guard import Guard, Nothing, closes, misuse
from obelisk_ops.durable.flow.lines import Line
from obelisk_ops.durable.flow.pending import ContinueAsNew, Halt, Host, Pending
from obelisk_ops.durable.flow.promise import UNKNOWN, Promise
from obelisk_ops.durable.flow.record import Record
from obelisk_ops.durable.flow.rng import ReplayRandom
from obelisk_ops.durable.flow.signals import Signal
from obelisk_ops.durable.flow.tasks import Task, Tasks
from obelisk_ops.durable.flow.watch import Watch, Watches, Watching, is_wanted
from obelisk_ops.errors import (
    ExecutionCancelled,
    ExecutionTimedOut,
    Nondeterminism,
    OpsError,
    WorkflowMisuse,
)


class Machine(Asking):
    """See the module. ``pending`` is what the execution waits for."""

    def __init__(
        self, execution_id: str, function: Workflow[Any, Any], created: events.Created,
        *, at: int, host: Host, guard: Guard | None = None,
    ) -> None:  # fmt: skip
        record = Record(execution_id, host, self._note)
        super().__init__(execution_id, record, host, Tasks(self._foreign, self._task_ended), at)
        self._seed = created.seed or execution_id
        self.finished: Finished | None = None
        self.left: dict[int, Pending] = {}  # calls that had no answer at the end
        self.successor: bytes | None = None  # the input of the execution that goes on
        self.cancelling: CancelRequested | None = None
        self.signals_taken: set[int] = set()
        self.aside: set[int] = set()  # seqs of what did not fit
        self.function = function
        self._input = bytes(created.input)
        self._main: Task | None = None
        self.is_dissolved = False
        # Its own: a variable that an activity or a caller has set is not on record.
        self._context = Context()
        self._context.run(driver.set, self)
        self._guard = guard or new_guard()
        #: set by an engine: sees calls that code must not make; takes its log lines
        self.watch: Watching | None = None
        self.hold: Callable[[Line], None] | None = None

    @cached_property
    def random(self) -> ReplayRandom:
        """Its random numbers: the same on replay."""
        return ReplayRandom(self._seed)

    # -- driving -------------------------------------------------------------------

    def start(self) -> None:
        """Run the code from its beginning to the first thing that it must wait for."""
        try:
            args, kwargs = self.function.codec.decode_input(self._input)
        except OpsError as error:
            self._finish_with(error)
            return
        self._main = self.tasks.spawn(self.function.function(*args, **kwargs), Promise())
        self._advance()

    def replay(self, log: Sequence[Event], inbox: Mapping[int, InboxItem]) -> None:
        """
        Bring a fresh machine to where *log* ends.

        Args:
            log: All events after ``created``.
            inbox: What the log refers to, by seq.

        Raises:
            Nondeterminism: The code does not do what the log says.
        """
        self.record.load(log)
        self.at = began_at(log) or self.at
        try:
            self.start()
            while self.record.has_history:
                event, body = self.record.next()
                self._retell(event, body, inbox)
        except BaseException as error:
            self.dispose()
            if isinstance(error, Halt) and self.record.broken is not None:
                raise self.record.broken from None
            raise
        self.record.is_replay = False
        if self.record.broken is not None:
            raise self.record.broken

    def returned(self, body: Returned, at: int, told: object = UNKNOWN) -> None:
        """Tell the code how an activity ended: *told*, where that was read of *body* before."""
        pending = self._answered(body.n, at)
        if pending is None:
            return
        if told is not UNKNOWN:
            self.resolve(pending.promise, told)
            self._advance()
        else:
            assert isinstance(pending.function, Activity)
            decode = pending.function.codec.decode_result
            self._tell(pending.promise, body.ok, body.error, decode)

    def timer_fired(self, n: int, at: int) -> None:
        """Tell the code that a timer fired, or that a signal did not come in time."""
        pending = self._answered(n, at)
        if pending is not None:
            self.resolve(pending.promise, None)
            self._advance()

    def child_finished(self, n: int, outcome: str, at: int) -> None:
        """Tell the code how a child workflow ended; *outcome* is its ``finished`` body."""
        pending = self._answered(n, at)
        if pending is None:
            return
        assert isinstance(pending.function, Workflow)
        body = msgspec.json.decode(outcome, type=Finished)
        self._tell(pending.promise, body.ok, body.error, pending.function.codec.decode_result)

    def signal_received(self, n: int, seq: int, body: str, at: int) -> None:
        """Give the code a signal; *body* is that of its inbox row."""
        pending = self._answered(n, at)
        self.signals_taken.add(seq)
        if pending is None:
            return
        assert isinstance(pending.function, Signal)
        value = msgspec.json.decode(body, type=dict[str, Raw])["value"]
        self._tell(pending.promise, value, UNSET, pending.function.shape.decode)

    def stub_answered(self, n: int, body: str, at: int) -> None:
        """Give the code a result from outside; *body* is that of its inbox row."""
        pending = self._answered(n, at)
        if pending is None:
            return
        assert pending.function is not None
        told = msgspec.json.decode(body, type=Finished)
        self._tell(pending.promise, told.ok, told.error, pending.function.codec.decode_result)  # type: ignore[union-attr]

    def cancel_requested(self, body: CancelRequested, at: int) -> None:
        """Interrupt the code where it waits; once, whatever else comes."""
        self.at = max(self.at, at)
        if self.cancelling is not None:
            return
        self.cancelling = body
        if self._main is not None:
            is_late = body.reason == "timeout"
            self.tasks.interrupt(self._main, TimedOut() if is_late else Cancelled())
            self._advance()

    def hold_line(self, line: Line) -> None:
        """Let a log line out when the turn is durable; never, if it was out before."""
        if self.hold is not None and not self.record.is_replay and self.record.broken is None:
            self.hold(line)

    def dispose(self) -> None:
        """Drop the code, if it has not ended, without letting it ask for anything more."""
        if self.finished is not None or self.is_dissolved:
            return
        self.record.broken = self.record.broken or Nondeterminism("disposed")
        self._run(self.tasks.close)

    def dissolve(self) -> None:
        """Let go, after it, of all that knows it in turn: only a collector would."""
        self.is_dissolved = True
        if self._main is not None:
            self._main.end.task = None
        del self.record, self.tasks, self.hold, self._host, self._context

    # -- inside --------------------------------------------------------------------

    def _advance(self) -> None:
        self._run(self.tasks.run)
        if self.record.broken is not None:
            raise self.record.broken

    def _run(self, call: Callable[[], None]) -> None:
        if self.watch is not None:
            call = partial(self.watch.run, call, self.function.module)
        self._context.run(self._guard.run, call, self._drop_generator)

    def _task_ended(self, task: Task, value: object, error: BaseException | None) -> None:
        if isinstance(error, Halt):
            if self.record.broken is None and self.violation is not None:
                self._finish_with(self.violation)
        elif task is not self._main:
            self.settle(task.end, value, error)
        elif isinstance(error, ContinueAsNew):
            self._continue(error.input)
        elif error is not None:
            self._finish_with(error)
        else:
            self._return(value)

    def _foreign(self, wanted: object) -> BaseException:
        what = (
            "a bare yield, as of asyncio.sleep(0)," if wanted is None else type(wanted).__name__
        )
        error = misuse(f"awaiting {what}")
        try:
            self.violate(error)
        except Halt as halt:
            return halt
        return error

    def _drop_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        token = driver.set(None)  # whoever is driven now
        if not closes(generator):
            self.violation = self.violation or WorkflowMisuse(
                "an async generator was left in the middle, and its clean-up awaits",
                hint="use it inside 'async with contextlib.aclosing(…) as values:'",
            )
        driver.reset(token)

    def _return(self, value: object) -> None:
        if self._must_fail():
            return
        try:
            outcome = Finished(ok=Raw(self.function.codec.encode_result(value)))
        except OpsError as error:
            self._finish_with(error)
        else:
            self._finish(outcome)

    def _continue(self, given: bytes) -> None:
        if not self._must_fail():
            self.successor = given
            self._finish(Finished(continued=ids.successor(self.id)))

    def _must_fail(self) -> bool:
        left = self.never_awaited()
        if left is not None and self.violation is None:
            self.violate(
                WorkflowMisuse(
                    f"{left} was called but never awaited",
                    hint="await the call, or submit it to a join set",
                )
            )
        if self.violation is not None:
            self._finish_with(self.violation)
        return self.violation is not None

    def _finish_with(self, error: BaseException) -> None:
        if self.violation is None and isinstance(error, Cancelled) and self.cancelling:
            self._finish(ended_by(self.cancelling))
        else:
            self._finish(Finished(error=failures.record(self.violation or error)))

    def _finish(self, outcome: Finished) -> None:
        try:
            self.record.command(outcome)
        except Halt:
            return
        self.finished = outcome
        self.left = dict(self.pending)
        self.pending.clear()
        self.record.has_ended = True
        self.tasks.close()

    def _answered(self, n: int, at: int) -> Pending | None:
        self.at = max(self.at, at)
        return self.close_call(n)

    def _tell(
        self,
        promise: Promise,
        ok: Raw | UnsetType,
        error: Failure | UnsetType,
        decode: Callable[[Any], Any],
    ) -> None:
        if error is not UNSET:
            self.settle(promise, None, failures.rebuild(error))
        else:
            try:
                value = decode(ok)
            except OpsError as misfit:
                self.settle(promise, None, misfit)
            else:
                promise.value = value
                self.tasks.release(promise)
        self._advance()

    def _retell(self, event: Event, body: Body, inbox: Mapping[int, InboxItem]) -> None:
        match body:
            case Returned():
                self.returned(body, event.at)
            case TimerFired():
                self.timer_fired(body.n, event.at)
            case ChildFinished():
                self.child_finished(body.n, inbox[body.seq].body, event.at)
            case SignalReceived():
                self.signal_received(body.n, body.seq, inbox[body.seq].body, event.at)
            case StubAnswered():
                self.stub_answered(body.n, inbox[body.seq].body, event.at)
            case CancelRequested():
                self.cancel_requested(body, event.at)
            case _:
                self._note(body)

    def _note(self, body: Body) -> None:
        """Take in what happened meanwhile, and code cannot see."""
        if isinstance(body, events.AttemptStarted | events.AttemptFailed):
            self.pending[body.n].note(body)
        elif isinstance(body, events.SetAside):
            self.aside.add(body.seq)


def ended_by(request: CancelRequested) -> Finished:
    """Return the end of an execution that let itself be cancelled."""
    if request.reason == "timeout":
        late = ExecutionTimedOut("the execution took longer than its workflow's timeout")
        return Finished(error=failures.record(late), result="timed_out")
    error = ExecutionCancelled("the execution was cancelled")
    return Finished(error=failures.record(error), result="cancelled")


def report(error: WorkflowMisuse) -> None:
    """Fail the execution that runs now, also if its code swallows the error."""
    current = driver.get()
    if isinstance(current, Machine):
        current.violate(error)


def watches_for(strict: bool | None) -> Watches | None:  # noqa: FBT001 - as the engine was told
    """Return who watches the code of an engine's workflows; None if nobody does."""
    return None if strict is False else Watches(Watch(report), is_throughout=is_wanted(strict))


#: one for all: asyncio would keep a loop, and what it refers to, for ever
_nothing = Nothing(report)


def new_guard() -> Guard:
    """Return what hides the loop, for one thread."""
    return Guard(_nothing)
