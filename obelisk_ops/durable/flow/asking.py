"""What workflow code can ask for: numbered, compared with the log, and kept until answered."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, NoReturn

from msgspec import Raw

from obelisk_ops.core import ids
from obelisk_ops.core.events import (
    Cancelled,
    ChildCancel,
    ChildCreated,
    Intended,
    Scheduled,
    SignalAwaited,
    StubRequested,
    TimerSet,
)
from obelisk_ops.core.interruptions import Interruption
from obelisk_ops.durable.flow.functions import Activity, Call, Workflow
from obelisk_ops.durable.flow.pending import Halt, Host, Pending
from obelisk_ops.durable.flow.promise import UNKNOWN, Promise
from obelisk_ops.durable.flow.record import Record
from obelisk_ops.durable.flow.signals import Signal
from obelisk_ops.durable.flow.tasks import Task, Tasks
from obelisk_ops.errors import ConfigError, OpsError, WorkflowMisuse


class Asking:
    """The side of the machine that code talks to, through Call, sleep, join_set and others."""

    def __init__(
        self, execution_id: str, record: Record, host: Host, tasks: Tasks, at: int
    ) -> None:
        self.id = execution_id
        self.at = at
        self.record = record
        self.tasks = tasks
        self.pending: dict[int, Pending] = {}
        self.activities_open = 0
        self.listening: dict[int, str] = {}  # calls that wait for a signal, and for which
        self.violation: OpsError | None = None
        self._host = host
        self._n = 0
        self._set_names: set[str] = set()
        self._made: dict[object, str] = {}
        self._patches: dict[str, bool] = {}

    def note_call(self, call: object, name: str) -> None:
        """See Driver.note_call."""
        record = self.record
        if record.broken is not None or record.has_ended:  # as in check: once for each call
            raise Halt
        self._made[call] = name

    def forget(self, call: object) -> None:
        """Do not miss a call that was made and will not be asked for."""
        for made in [made for made in self._made if made is call]:
            del self._made[made]

    def never_awaited(self) -> str | None:
        """Return the name of a call that was made and not asked for, if there is one."""
        return next(iter(self._made.values()), None)

    def issue(self, call: Call[Any], *, into: str = "", promise: Promise) -> int:
        """See Driver.issue."""
        if self._made.pop(call, None) is None:
            self._refuse(call)
        function = call.function
        text = function.codec.encode_input(call.args, call.kwargs)
        promise.n = self._n = n = self._n + 1
        pending = Pending(promise, function, text)
        if type(function) is Activity:
            self._intend(n, pending, function, text, into)
        elif isinstance(function, Workflow):
            created = ChildCreated(
                n=n, id=self.call_id(n), fn=function.name, input=Raw(text), set=into
            )
            pending.child = self.record.command(created).id
        else:
            asked = StubRequested(n=n, fn=function.name, input=Raw(text), set=into)
            self.record.command(asked)
        self.pending[n] = pending
        return n

    def retell(self, call: Call[Any]) -> object:
        """
        Return the answer of a call that code waits for, if the log has it next; or UNKNOWN.

        A short cut through ``issue`` and ``wait_for`` for most of a replay. Nothing is left
        out: the call is compared, and nobody else could have run between it and its answer.
        """
        function, tasks, record = call.function, self.tasks, self.record
        if (
            type(function) is not Activity or call not in self._made
            or len(tasks.alive) != 1 or tasks.running is None or tasks.running.errors
        ):  # fmt: skip
            return UNKNOWN
        codec = function.codec
        try:
            given = codec.encode_input(call.args, call.kwargs)
        except OpsError:
            return UNKNOWN
        found = record.take_answered(self._n + 1, function.name, given)
        if found is None:
            return UNKNOWN
        ok, at = found
        del self._made[call]
        self._n += 1
        self.at = max(self.at, at)
        return codec.decode_result(ok)

    def told_again(self, call: Call[Any]) -> Generator[Promise, None, Any]:
        """See Driver.told_again."""
        value = self.retell(call)
        if value is UNKNOWN:
            promise = Promise()
            self.issue(call, promise=promise)
            value = yield from self.wait_for(promise)
        return value

    def _intend(
        self, n: int, pending: Pending, function: Activity[Any, Any], text: bytes, into: str
    ) -> None:
        record = self.record
        if record.has_history:
            record.note_all()
        attempt = 0 if record.has_history else self._admit(n, pending)
        wanted = Intended(
            n=n, fn=function.name, input=Raw(text), set=into, attempt=attempt,
            queue=function.queue_on_record, priority=function.priority,
        )  # fmt: skip
        pending.attempt = attempt = record.command(wanted).attempt
        pending.running = attempt > 0
        self.activities_open += 1

    def _admit(self, n: int, pending: Pending) -> int:
        try:
            return self._host.admit(n, pending)
        except ConfigError as error:
            self.violate(error)
            raise

    def set_timer(
        self, wait_ms: int, *, into: str = "", promise: Promise, made: object = None
    ) -> int:
        """Ask for a timer, and return its number; *made* is what was noted before."""
        if made is not None:
            self._use(made)
        n = self._next_number(promise)
        wanted = TimerSet(n=n, wait=wait_ms, until=self.at + wait_ms, set=into)
        self.pending[n] = Pending(promise, due=self.record.command(wanted).until)
        return n

    def await_signal(
        self, signal: Signal[Any], wait_ms: int | None, *, promise: Promise, made: object
    ) -> int:
        """Ask for a signal, and return the number of the call."""
        self._use(made)
        n = self._next_number(promise)
        until = 0 if wait_ms is None else self.at + wait_ms
        pending = Pending(promise, signal)
        self.pending[n] = pending
        self.listening[n] = signal.name
        wanted = SignalAwaited(n=n, name=signal.name, wait=wait_ms, until=until)
        pending.due = self.record.command(wanted).until
        return n

    def schedule(self, call: Call[Any], *, wait_ms: int, start_at: int) -> str:
        """Ask for a new execution without a parent, and return its id."""
        self._use(call)
        assert isinstance(call.function, Workflow)
        text = call.function.codec.encode_input(call.args, call.kwargs)
        n = self._next_number(Promise())
        wanted = Scheduled(
            n=n, id=self.call_id(n), fn=call.function.name, input=Raw(text),
            wait=wait_ms, start_at=start_at,
        )  # fmt: skip
        recorded: Scheduled = self.record.command(wanted)
        return recorded.id

    def patched(self, name: str) -> bool:
        """Tell whether this execution goes the way of the changed code."""
        if name not in self._patches:
            self._patches[name] = self.record.has_patch(name)
        return self._patches[name]

    def spawn(self, code: Coroutine[Any, Any, Any], promise: Promise) -> None:
        """Run a coroutine beside the one that asks; *promise* is answered when it ends."""
        self.tasks.spawn(code, promise)

    def cancel(self, n: int) -> bool:
        """
        Cancel an unanswered call.

        Returns:
            Whether it is gone; False for a child workflow, which still ends. It is asked
            to cancel if its workflow says ``cancellable=True``.
        """
        pending = self.pending.get(n)
        if pending is None:
            return True
        if isinstance(pending.function, Workflow):
            if pending.function.cancellable and not pending.cancelling:
                pending.cancelling = True
                self.record.command(ChildCancel(n=n))
            return False
        self.record.command(Cancelled(n=n))
        self.close_call(n)
        return True

    def wait_for(self, promise: Promise) -> Generator[Promise, None, Any]:
        """Wait for an answer; give up the call when the code that waits is interrupted."""
        if not promise.done:
            try:
                yield promise
            except Interruption:
                if not promise.done:
                    yield from self._give_up(promise)
                raise
        if promise.error is not None:
            raise promise.error
        return promise.value

    def _give_up(self, promise: Promise) -> Generator[Promise, None, None]:
        if not self.cancel(promise.n):
            with self.tasks.shielded():
                yield from settled(promise)

    def interrupt(self, task: Task, error: Interruption) -> None:
        """Raise *error* in a task, where it waits."""
        self.tasks.interrupt(task, error)

    def resolve(self, promise: Promise, value: object) -> None:
        """Answer a promise; who waits for it becomes ready."""
        promise.value = value
        self.tasks.release(promise)

    def settle(self, promise: Promise, value: object, error: BaseException | None) -> None:
        """Answer a promise with a value or an error."""
        promise.value, promise.error = value, error
        self.tasks.release(promise)

    def violate(self, error: OpsError) -> None:
        """
        Fail the execution with *error*, also if its code swallows that.

        Raises:
            Halt: It swallowed one before: a loop that tries again would not end.
        """
        if self.violation is not None:
            raise Halt
        self.violation = error

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

    def close_call(self, n: int) -> Pending | None:
        """Forget a call that was answered or cancelled, and return it."""
        pending = self.pending.pop(n, None)
        if pending is not None and type(pending.function) is Activity:
            self.activities_open -= 1
        if self.listening:
            self.listening.pop(n, None)
        return pending

    def _use(self, made: object) -> None:
        if self._made.pop(made, None) is None:
            self._refuse(made)

    def _refuse(self, made: object) -> NoReturn:
        self.record.check()
        raise WorkflowMisuse(f"{made!r} was awaited or submitted before")

    def _next_number(self, promise: Promise) -> int:
        promise.n = self._n = n = self._n + 1
        return n


def settled(promise: Promise) -> Generator[Promise, None, None]:
    """Wait for the end of something, whichever it is."""
    if not promise.done:
        yield promise
