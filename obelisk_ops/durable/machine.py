"""
One execution's code, driven event by event.

The machine is deterministic: the same responses in the same order make the code ask
for the same commands. While there is history, a command is compared with the one on
record; after that it is handed to the host, which records it. No clock, no disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from obelisk_ops.core import events, failures, ids
from obelisk_ops.core.events import (
    COMMANDS,
    KINDS,
    RESPONSES,
    Body,
    Cancelled,
    ChildCreated,
    ChildFinished,
    Event,
    Finished,
    Intended,
    Returned,
    TimerFired,
    TimerSet,
)
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.durable.compare import describe, does_not_fit, same
from obelisk_ops.durable.functions import Activity, Call, Workflow, driver
from obelisk_ops.durable.guard import Guard, closes, misuse
from obelisk_ops.durable.pending import Halt, Host, Pending
from obelisk_ops.durable.promise import Promise
from obelisk_ops.durable.rng import ReplayRandom
from obelisk_ops.errors import Nondeterminism, OpsError, WorkflowMisuse

#: commands and responses; code that asks for more than before is told the rest first
_SEEN_BY_CODE = COMMANDS | RESPONSES


class Machine:
    """See the module. ``pending`` is what the execution waits for."""

    def __init__(
        self, execution_id: str, function: Workflow[Any, Any], created: events.Created,
        *, at: int, host: Host,
    ) -> None:  # fmt: skip
        self.id = execution_id
        self.at = at
        self.random = ReplayRandom(created.seed or execution_id)
        self.pending: dict[int, Pending] = {}
        self.finished: Finished | None = None
        self.activities_open = 0
        self._function = function
        self._host = host
        self._input = bytes(created.input)
        self._n = 0
        self._set_names: set[str] = set()
        self._made: dict[object, str] = {}
        self._history: deque[tuple[Event, Any]] = deque()
        self._ready: deque[Coroutine[Any, Any, Any]] = deque()
        self._main: Coroutine[Any, Any, Any] | None = None
        # Its own: a variable that an activity or a caller has set is not on record.
        self._context = Context()
        self._context.run(driver.set, self)
        self._violation: OpsError | None = None
        self._broken: OpsError | None = None

    # -- driving -------------------------------------------------------------------

    def start(self) -> None:
        """Run the code from its beginning to the first thing that it must wait for."""
        try:
            args, kwargs = self._function.codec.decode_input(self._input)
        except OpsError as error:
            self._finish_with(error)
            return
        self._main = self._function.function(*args, **kwargs)
        self._ready.append(self._main)
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
        # Decoded before code runs: damage is no outcome of the code.
        self._history.extend((event, events.decode(event)) for event in log)
        try:
            self.start()
            while self._history:
                event, body = self._history.popleft()
                if event.kind in COMMANDS:
                    self._mismatch(event, body, "waits for something else")
                self._retell(event, body, inbox)
        except BaseException as error:
            self.dispose()
            if isinstance(error, Halt) and self._broken is not None:
                raise self._broken from None
            raise
        if self._broken is not None:
            raise self._broken

    def returned(self, body: Returned, at: int) -> None:
        """Tell the code how an activity ended."""
        pending = self._answered(body.n, at)
        if pending is None:
            return
        if body.error is not UNSET:
            self._settle(pending.promise, failures.rebuild(body.error))
            return
        try:
            assert pending.function is not None
            assert body.ok is not UNSET
            value = pending.function.codec.decode_result(body.ok)
        except OpsError as error:
            self._settle(pending.promise, error)
        else:
            self.resolve(pending.promise, value)
            self._advance()

    def timer_fired(self, n: int, at: int) -> None:
        """Tell the code that a timer fired."""
        pending = self._answered(n, at)
        if pending is not None:
            self.resolve(pending.promise, None)
            self._advance()

    def child_finished(self, n: int, outcome: str, at: int) -> None:
        """Tell the code how a child workflow ended; *outcome* is its ``finished`` body."""
        body = msgspec.json.decode(outcome, type=Finished)
        self.returned(Returned(n=n, ok=body.ok, error=body.error), at)

    def dispose(self) -> None:
        """Drop the code without letting it ask for anything more."""
        self._broken = self._broken or Nondeterminism("disposed")
        self._ready.clear()
        self._context.run(self._hidden, self._close_code)

    # -- what code asks for, through Call, sleep and join_set ----------------------

    def note_call(self, call: object, name: str) -> None:
        """See Driver.note_call."""
        if self._broken is not None:
            raise Halt
        self._made[call] = name

    def issue(self, call: Call[Any], *, into: str = "", promise: Promise) -> int:
        """See Driver.issue."""
        if call not in self._made:
            raise WorkflowMisuse(f"{call!r} was awaited or submitted before")
        del self._made[call]
        function = call.function
        text = function.codec.encode_input(call.args, call.kwargs)
        n = self._next_number(promise)
        pending = Pending(promise, function, text)
        if isinstance(function, Workflow):
            child = self.call_id(n)
            self._command(
                ChildCreated(n=n, id=child, fn=function.name, input=Raw(text), set=into)
            )
        else:
            self._note_all()
            attempt = 0 if self._history else self._host.admit(n, pending)
            wanted = Intended(n=n, fn=function.name, input=Raw(text), set=into, attempt=attempt)
            pending.attempt = self._command(wanted).attempt
            pending.running = pending.attempt > 0
            self.activities_open += 1
        self.pending[n] = pending
        return n

    def set_timer(
        self, wait_ms: int, *, into: str = "", promise: Promise, made: object = None
    ) -> int:
        """Ask for a timer, and return its number; *made* is what was noted before."""
        self._made.pop(made, None)
        n = self._next_number(promise)
        wanted = TimerSet(n=n, wait=wait_ms, until=self.at + wait_ms, set=into)
        self.pending[n] = Pending(promise, due=self._command(wanted).until)
        return n

    def cancel(self, n: int) -> bool:
        """Cancel an unanswered activity or timer; False when it is a child workflow."""
        pending = self.pending.get(n)
        if pending is None or isinstance(pending.function, Workflow):
            return pending is None
        self._command(Cancelled(n=n))
        self._close(n)
        return True

    def resolve(self, promise: Promise, value: object) -> None:
        """Answer a promise; who waits for it becomes ready."""
        promise.value = value
        self._release(promise)

    def violate(self, error: OpsError) -> None:
        """
        Fail the execution with *error*, also if its code swallows that.

        Raises:
            Halt: It swallowed one before: a loop that tries again would not end.
        """
        if self._violation is not None:
            raise Halt
        self._violation = error

    def claim_set_name(self, name: str | None) -> str:
        """
        Return the name of a new join set.

        Raises:
            WorkflowMisuse: It is taken.
        """
        if name is None:
            name = f"#{len(self._set_names) + 1}"
        if name in self._set_names:
            raise WorkflowMisuse(f"this execution already has a join set {name!r}")
        self._set_names.add(name)
        return name

    def call_id(self, n: int) -> str:
        """Return the id of call number *n*."""
        return ids.derived(self.id, n)

    # -- inside --------------------------------------------------------------------

    def _advance(self) -> None:
        self._context.run(self._hidden, self._run_ready)
        if self._broken is not None:
            raise self._broken

    def _hidden(self, call: Callable[[], None]) -> None:
        hidden = _guard.enter(self._drop_generator)
        try:
            call()
        finally:
            _guard.leave(hidden)

    def _run_ready(self) -> None:
        while self._ready:
            self._step(self._ready.popleft())

    def _close_code(self) -> None:
        try:
            if self._main is not None:
                self._main.close()
        except (Exception, Halt):  # noqa: BLE001, S110 - clean-up code, which cannot run here
            pass

    def _step(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            wanted = coroutine.send(None)
            while type(wanted) is not Promise:
                wanted = coroutine.throw(self._foreign(wanted))
        except StopIteration as done:
            self._return(done.value)
        except Halt:
            if self._broken is None and self._violation is not None:
                self._finish_with(self._violation)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the outcome
            self._finish_with(error)
        else:
            wanted.waiters.append(coroutine)

    def _foreign(self, wanted: object) -> BaseException:
        error = misuse(f"awaiting {type(wanted).__name__}")
        try:
            self.violate(error)
        except Halt as halt:
            return halt
        return error

    def _drop_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        token = driver.set(None)  # whoever is driven now
        if not closes(generator):
            self._violation = self._violation or WorkflowMisuse(
                "an async generator was left in the middle, and its clean-up awaits",
                hint="use it inside 'async with contextlib.aclosing(…) as values:'",
            )
        driver.reset(token)

    def _return(self, value: object) -> None:
        if self._made and self._violation is None:
            self.violate(
                WorkflowMisuse(
                    f"{next(iter(self._made.values()))} was called but never awaited",
                    hint="await the call, or submit it to a join set",
                )
            )
        if self._violation is not None:
            self._finish_with(self._violation)
            return
        try:
            outcome = Finished(ok=Raw(self._function.codec.encode_result(value)))
        except OpsError as error:
            self._finish_with(error)
        else:
            self._finish(outcome)

    def _finish_with(self, error: BaseException) -> None:
        self._finish(Finished(error=failures.record(self._violation or error)))

    def _finish(self, outcome: Finished) -> None:
        try:
            self._command(outcome)
        except Halt:
            return
        self.finished = outcome
        self.pending.clear()

    def _next_number(self, promise: Promise) -> int:
        self._n += 1
        promise.n = self._n
        return self._n

    def _answered(self, n: int, at: int) -> Pending | None:
        self.at = max(self.at, at)
        return self._close(n)

    def _close(self, n: int) -> Pending | None:
        pending = self.pending.pop(n, None)
        if pending is not None and type(pending.function) is Activity:
            self.activities_open -= 1
        return pending

    def _settle(self, promise: Promise, error: BaseException) -> None:
        promise.error = error
        self._release(promise)
        self._advance()

    def _release(self, promise: Promise) -> None:
        promise.done = True
        self._ready.extend(promise.waiters)
        promise.waiters.clear()
        if promise.on_done is not None:
            promise.on_done(promise)

    def _command(self, wanted: Any) -> Any:  # noqa: ANN401 - returns the type it is given
        if self._broken is not None:
            raise Halt
        self._note_all()
        if not self._history:
            self._host.record(wanted)
            return wanted
        event, recorded = self._history.popleft()
        if event.kind != KINDS[type(wanted)] or not same(recorded, wanted):
            self._mismatch(event, recorded, f"asks for {describe(wanted)}")
        return recorded

    def _mismatch(self, event: Event, body: Body, instead: str) -> None:
        self._broken = self._broken or does_not_fit(self.id, event, body, instead)
        raise Halt

    def _retell(self, event: Event, body: Body, inbox: Mapping[int, InboxItem]) -> None:
        match body:
            case Returned():
                self.returned(body, event.at)
            case TimerFired():
                self.timer_fired(body.n, event.at)
            case ChildFinished():
                self.child_finished(body.n, inbox[body.seq].body, event.at)
            case _:
                self._note(body)

    def _note_all(self) -> None:
        while self._history and self._history[0][0].kind not in _SEEN_BY_CODE:
            self._note(self._history.popleft()[1])

    def _note(self, body: Body) -> None:
        """Take in what happened meanwhile, and code cannot see."""
        if isinstance(body, events.AttemptStarted | events.AttemptFailed):
            self.pending[body.n].note(body)


def _report(error: WorkflowMisuse) -> None:
    current = driver.get()
    if isinstance(current, Machine):
        current.violate(error)


#: one for all: asyncio would keep a loop, and what it refers to, for ever
_guard = Guard(_report)
