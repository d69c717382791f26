"""How executions come into memory: created, resumed, woken; parents and children."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from obelisk_ops.core import events, ids
from obelisk_ops.core.events import Body, Event, Failure
from obelisk_ops.core.fold import RESTS, is_closing
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.core.projection import rows_of
from obelisk_ops.durable.execution import DEADLINE, START, Execution
from obelisk_ops.durable.flow.digests import digest_on_record
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.log import log
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import (
    ConfigError,
    CrashLoop,
    ExecutionNotFound,
    Nondeterminism,
    OpsError,
)

if TYPE_CHECKING:
    from obelisk_ops.durable.scheduler import Scheduler

#: states in which nothing of an execution runs until somebody says so
_AT_REST = (State.FINISHED, State.PAUSED, State.PARKED)


class Nursery:
    """See the module."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._engine = scheduler
        self._store = scheduler.store
        self._roster = scheduler.roster
        self._cold = scheduler.cold
        self._unserved: dict[str, set[int]] = {}
        self._doubted: dict[int, Callable[[int], bool]] = {}
        self._keys: Iterator[int] = iter(())

    # -- made --------------------------------------------------------------------------

    def begin(
        self, execution_id: str, created: events.Created, *, asked_at: int | None = None
    ) -> Turn:
        """Create an execution; return the turn, for what must be atomic with it."""
        key = self._draw_key()
        turn = self._engine.open(key)
        self._engine.do(turn, self.create, execution_id, created, turn, None, asked_at, key)
        return turn

    def create(
        self, execution_id: str, created: events.Created, turn: Turn,
        parent: tuple[int, int] | None, asked_at: int | None = None, key: int = 0,
    ) -> None:  # fmt: skip
        """
        Create an execution in a turn; its code begins in it too, if it may.

        Args:
            execution_id: Its id.
            created: What it is.
            turn: Where it is written.
            parent: Key of its parent, and number of the call there.
            asked_at: When it was asked for, UTC milliseconds; now by default.
            key: Its key; drawn if left out.
        """
        now_ms = self._engine.now_ms()
        row = StateRow(
            key=key or self._draw_key(), id=execution_id, function=created.fn,
            state=State.PAUSED if created.paused else State.PENDING,
            parent=parent[0] if parent else None, parent_n=parent[1] if parent else None,
            created_at=now_ms if asked_at is None else asked_at,
        )  # fmt: skip
        function = self._engine.registry.get(created.fn)
        is_early = created.start_at > now_ms
        if function is None or created.paused or is_early:
            turn.waits = turn.waits or self._engine.waits(function)
            self._cold.make(turn, row, created)
            if is_early:
                turn.write.timers = [*turn.write.timers, (row.key, START, created.start_at)]
                alarm = (row.key, START, created.start_at)
                turn.effects.append((self._engine.set_alarm, alarm))
            elif function is None:
                turn.effects.append((self._note_unserved, (row.function, row.key)))
            return
        if created.digest != function.digest:  # another process may have asked for it
            created = msgspec.structs.replace(created, digest=function.digest)
        execution = self._make(row, function, created, is_new=True)
        self._roster.add(execution)
        turn.follow.append((execution.begin, (turn, now_ms)))

    def plant(self, histories: Sequence[History]) -> Turn:
        """Create executions that come from elsewhere; they go on as after a restart."""
        keys = {history.execution_id: self._draw_key() for history in histories}
        turn = self._engine.open(min(keys.values()))
        for history in histories:
            key, parent = keys[history.execution_id], keys.get(history.parent_id)
            rows = rows_of(history, key, parent=parent)
            self._cold.plant(turn, rows)
            turn.effects.append((self._planted, (rows,)))
        return turn

    def _planted(self, rows: Write) -> None:
        [row] = rows.created
        self._engine.workshop.learn(rows.beats)
        for timer in rows.timers:
            self._engine.set_alarm(*timer)
        if row.state is State.CANCELLING:
            self._engine.post(self._engine.requests.closing.look, row.key)
        is_early = any(n == START for _, n, _ in rows.timers)
        if row.state not in (State.PAUSED, State.FINISHED) and not is_early:
            self._note_unserved(row.function, row.key)

    def _draw_key(self) -> int:
        for key in self._keys:
            return key
        self._keys = iter(self._store.draw_keys())
        return next(self._keys)

    # -- taken up ----------------------------------------------------------------------

    def recover(self, keys: Collection[int] | None = None) -> None:
        """Go on with every unfinished execution whose workflow is served here, or with some."""
        armed = [one for one in self._store.armed() if keys is None or one[0] in keys]
        early = {key for key, n, _ in armed if n == START}
        room = self._engine.keep_loaded
        self._keys = iter(())  # what comes of an execution has a larger key than it
        for row in self._store.unfinished():
            if keys is not None and row.key not in keys:
                continue
            if row.state is State.PAUSED or row.key in early:
                continue
            if row.state is State.CANCELLING:
                self._engine.post(self._engine.requests.closing.look, row.key)
            if row.state is not State.BLOCKED or room > 0:
                room -= row.state is State.BLOCKED
                self._note_unserved(row.function, row.key)
            elif self._engine.registry.get(row.function) is None:
                self._unserved.setdefault(row.function, set()).add(row.key)
        for timer in armed:
            self._rearm(*timer)

    def _rearm(self, key: int, n: int, due: int) -> None:
        # Of one in memory more is known there: what it decided may not be written down yet.
        if self._roster.get(key) is None or not self._engine.alarms.has((key, n)):
            self._engine.set_alarm(key, n, due)

    def adopt(self, functions: Sequence[str]) -> None:
        """Go on with unfinished executions of workflows that are served from now on."""
        for name in functions:
            if self._engine.registry.get(name) is not None:
                for key in sorted(self._unserved.pop(name, ())):
                    self._engine.post(self._take_up, key)

    def unserved(self) -> list[str]:
        """Return the workflows of executions that are not served here."""
        return [name for name, keys in self._unserved.items() if keys]

    def to_give(self, function: str) -> Iterator[list[int]]:
        """Yield trees of one workflow that is not served here; nothing of them is in memory."""
        for key in sorted(self._unserved.get(function, ())):
            row = self._find(key)
            if row is None or row.parent is not None or self._cold.is_busy(row.id, key):
                continue
            tree = [row, *self._store.unfinished_below(row.id)]
            if not any(self._is_held(one) for one in tree):
                yield [one.key for one in tree]

    def _is_held(self, row: StateRow) -> bool:
        is_live = self._roster.get(row.key) is not None
        if is_live or self._cold.is_busy(row.id, row.key):
            return True
        # What ends without its code ends here.
        return row.state is State.CANCELLING and is_closing(
            self._store.events_of(row.key, RESTS)
        )

    def forget(self, keys: Collection[int]) -> None:
        """Let go of executions that are another worker's now."""
        for key in keys:
            self._doubted.pop(key, None)
            for n in self._store.timers(key):
                self._engine.alarms.drop((key, n))
        for unserved in self._unserved.values():
            unserved.difference_update(keys)

    def doubt(self, keys: Collection[int], is_mine: Callable[[int], bool]) -> None:
        """Ask before something is done with these: they may be another worker's by now."""
        self._doubted.update(dict.fromkeys(keys, is_mine))

    def is_unserved(self, row: StateRow) -> bool:
        """Return whether an execution waits for its workflow to be served."""
        return self._engine.registry.get(row.function) is None

    def wake(self, key: int, n: int) -> None:
        """Load an execution for which an alarm rang, if it is to go on."""
        row = self._find(key)
        if row is None or row.state in _AT_REST:
            return
        if self._cold.is_busy(row.id, key):
            self._after_commit(self._engine.ring, key, n)  # it may be in memory by then
            return
        execution = self.load(row)
        if execution is not None and n != START:
            self._engine.ring(key, n)  # now: alarms of one execution ring in their order

    def load(self, row: StateRow, *notes: Body) -> Execution | None:
        """
        Replay an execution into memory and go on with it; *notes* are appended.

        Returns:
            None when its workflow is not served here, its code does not fit its log, or it
            ends without its code (see ``closing``).
        """
        function = self._engine.registry.get(row.function)
        if function is None:
            self._unserved.setdefault(row.function, set()).add(row.key)
            return None
        history = self._store.log(row.key)
        if row.state is State.CANCELLING and is_closing(history):
            return None
        inbox = self._store.inbox(row.key)
        created = events.decode(history[0])
        execution = self._make(row, function, created, is_new=False)
        timers = self._store.timers(row.key) if created.timeout or created.start_at else {}
        turn = self._engine.open(row.key)
        now_ms = self._engine.now_ms()
        if row.state is State.PARKED:
            notes = (*notes, events.Resumed())
        if digest_on_record(created, history) not in {"", function.digest}:
            notes = (*notes, events.Upgraded(digest=function.digest))
        try:
            deadline = timers.get(DEADLINE)
            execution.resume(turn, history, inbox, now_ms, *notes, deadline=deadline)
        except (Nondeterminism, CrashLoop, ConfigError, msgspec.DecodeError, KeyError) as error:
            execution.machine.dispose()
            self._engine.commits.drop(turn)
            self._park(row, history, error, notes)
            return None
        if START in timers:
            turn.write.timers_done = [*turn.write.timers_done, (row.key, START)]
        self._roster.add(execution)
        turn.run()
        return execution

    def _make(
        self, row: StateRow, function: Workflow[Any, Any], created: events.Created,
        *, is_new: bool,
    ) -> Execution:  # fmt: skip
        execution = Execution(self._engine, row, function, created)
        watches = self._engine.registry.watches
        if watches is not None:
            execution.machine.watch = watches.of(function.name, is_new=is_new)
        execution.machine.hold = execution.later
        return execution

    def _note_unserved(self, function: str, key: int) -> None:
        self._unserved.setdefault(function, set()).add(key)
        self.adopt([function])  # it may be served by now

    def _take_up(self, key: int) -> None:
        row = self._find(key)
        if row is None or self._roster.get(key) is not None:
            return
        if self._cold.is_busy(row.id, key):  # a letter may have come first
            self._after_commit(self._take_up, key)
        elif row.state not in (State.FINISHED, State.PAUSED):
            self.load(row)

    def _find(self, key: int) -> StateRow | None:
        """Return the row of an execution, if it is there, and this worker's."""
        is_mine = self._doubted.get(key)
        if is_mine is not None and not is_mine(key):
            self.forget([key])
            return None
        self._doubted.pop(key, None)
        try:
            return self._store.get(key)
        except ExecutionNotFound:
            return None  # it was over, and has been pruned

    def _after_commit(self, call: Callable[..., None], *args: object) -> None:
        self._engine.after_commit(self._engine.post, call, *args)

    def _park(
        self, row: StateRow, history: Sequence[Event], error: Exception, notes: Sequence[Body]
    ) -> None:
        """Record that the code does not fit the log, unless that is the last thing known."""
        reason = error if isinstance(error, OpsError) else Nondeterminism(
            f"execution {row.id!r}: its log cannot be read: {error}"
        )  # fmt: skip
        log.warning("execution_parked", execution_id=row.id, reason=reason.message)
        turn, now_ms = self._engine.open(row.key), self._engine.now_ms()
        turn.effects.append((self._roster.tell, (row.id,)))
        if history[-1].kind == "parked":
            return
        told = Failure(type=type(reason).__name__, message=reason.message, hint=reason.hint)
        for note in notes:
            if isinstance(note, events.Unpaused):
                self._cold.append(turn, row.key, note, now_ms)
        self._cold.append(turn, row.key, events.Parked(error=told), now_ms)
        self._cold.change(turn, row.key, State.PARKED, error=reason.message)

    # -- parents and children ----------------------------------------------------------

    def tell_parent(self, row: StateRow, outcome: str, turn: Turn) -> None:
        """Tell the parent of an execution how it ended, in the same turn."""
        if row.parent is None:
            return
        n, now_ms = row.parent_n or 0, self._engine.now_ms()
        parent = self._roster.get(row.parent)
        if parent is not None:
            turn.follow.append((_tell_live, (parent, turn, n, outcome, now_ms)))
            return
        found = self._store.get(row.parent)
        state = self._cold.state(found)
        if state is State.FINISHED:
            return
        self._cold.receive(turn, row.parent, "child", n, outcome, now_ms)
        if state is State.BLOCKED:
            self._cold.change(turn, row.parent, State.PENDING)
            turn.effects.append((self._note_unserved, (found.function, found.key)))
        elif state is State.CANCELLING:
            turn.effects.append(
                (self._engine.post, (self._engine.requests.closing.look, found.key))
            )

    def cancel_child(self, call_id: str, turn: Turn) -> None:
        """Cancel a child, or the execution that goes on in its place."""
        child = self.latest(call_id)
        live = self._roster.find(child)
        if live is not None and not live.is_paused:
            turn.follow.append((_cancel_live, (live, turn, self._engine.now_ms())))
        else:  # in the same commit: after a crash nobody would think of it
            turn.follow.append((self._engine.requests.cancel_if_any, (child,)))

    def latest(self, execution_id: str) -> str:
        """Return the id of the execution that goes on in place of one, or its own."""
        live = self._roster.find(execution_id)
        if live is not None and live.machine.finished is None:
            return execution_id  # what still runs has no successor
        return ids.latest(
            execution_id,
            lambda name: self._roster.find(name) or self._store.find(name),
            self._store.newest_link,
        )


def _tell_live(parent: Execution, turn: Turn, n: int, outcome: str, now_ms: int) -> None:
    if n in parent.machine.pending:
        parent.answered(turn, "child", n, outcome, now_ms)


def _cancel_live(child: Execution, turn: Turn, now_ms: int) -> None:
    if child.machine.finished is None:
        child.cancel(turn, "", now_ms)
