"""What reaches executions that are only on disk: written down, no code runs."""

from __future__ import annotations

from dataclasses import dataclass

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body
from obelisk_ops.core.ports import LogStore, Result, State, StateChange, StateRow, Write
from obelisk_ops.durable.turn import Turn


class Cold:
    """Appends to logs and inboxes that nobody in this process holds in memory."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._ends: dict[int, _Ends] = {}  # of what is not durable yet
        self._made: set[str] = set()
        self._states: dict[int, State] = {}

    def is_busy(self, execution_id: str, key: int | None) -> bool:
        """Return whether something about it is not durable yet: the store cannot be asked."""
        return execution_id in self._made or key in self._ends

    def make(self, turn: Turn, row: StateRow, created: events.Created) -> None:
        """Create an execution."""
        turn.write.created = [*turn.write.created, row]
        turn.write.log.append((row.key, 0, row.created_at, "created", events.encode(created)))
        self._ends[row.key] = _Ends(1, 0, row.created_at)
        self._made.add(row.id)

    def plant(self, turn: Turn, rows: Write) -> None:
        """Create an execution that comes from elsewhere."""
        write = turn.write
        write.log.extend(rows.log)
        write.created = [*write.created, *rows.created]
        write.inbox = [*write.inbox, *rows.inbox]
        write.timers = [*write.timers, *rows.timers]
        write.beats = [*write.beats, *rows.beats]
        write.outputs = [*write.outputs, *rows.outputs]
        seq = max((row[1] for row in rows.inbox), default=0)
        self._ends[rows.execution] = _Ends(len(rows.log), seq, rows.log[-1][2])
        self._made.update(row.id for row in rows.created)

    def append(self, turn: Turn, key: int, body: Body, now_ms: int) -> None:
        """Append an event."""
        ends = self._ends_of(key)
        ends.at = max(ends.at, now_ms)  # the clock may have been set back
        row = (key, ends.version, ends.at, KINDS[type(body)], events.encode(body))
        turn.write.log.append(row)
        ends.version += 1

    def receive(self, turn: Turn, key: int, kind: str, n: int, body: str, now_ms: int) -> None:
        """Append to an inbox."""
        ends = self._ends_of(key)
        ends.seq += 1
        turn.write.inbox = [*turn.write.inbox, (key, ends.seq, kind, n, now_ms, body)]

    def change(self, turn: Turn, key: int, state: State, *, error: str | None = None) -> None:
        """Change the state of one that goes on; *error* says why it is parked."""
        self._states[key] = state
        change = StateChange(key=key, state=state, error=error)
        turn.write.changed = [*turn.write.changed, change]

    def state(self, row: StateRow) -> State:
        """Return the state of one, also if it is not durable yet."""
        return self._states.get(row.key, row.state)

    def finish(self, turn: Turn, row: StateRow, outcome: events.Finished, now_ms: int) -> None:
        """End an execution whose code is not run again."""
        self.append(turn, row.key, outcome, now_ms)
        assert outcome.error
        change = StateChange(
            key=row.key, state=State.FINISHED, result=Result(outcome.result or "error"),
            finished_at=self._ends[row.key].at,
            error=f"{outcome.error.type}: {outcome.error.message}",
        )  # fmt: skip
        self._states[row.key] = State.FINISHED
        turn.write.changed = [*turn.write.changed, change]
        for n in self._store.timers(row.key):
            turn.write.timers_done = [*turn.write.timers_done, (row.key, n)]

    def settled(self) -> None:
        """Note that everything is durable, or never will be."""
        if self._ends:  # it comes first, whatever is written down
            self._ends.clear()
            self._made.clear()
            self._states.clear()

    def _ends_of(self, key: int) -> _Ends:
        if key not in self._ends:
            self._ends[key] = _Ends(*self._store.ends(key), self._store.last(key).at)
        return self._ends[key]


@dataclass(slots=True)
class _Ends:
    """Of a log and an inbox: the next version, the last seq, the last event's time."""

    version: int
    seq: int
    at: int
