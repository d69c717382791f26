"""
Ending executions whose code is not run: not begun, or parked and then cancelled.

What is parked cannot close its children as its code would have. So the engine does: child
workflows that say ``cancellable=True`` are cancelled, all are awaited, and the end of the
parent comes after theirs. Until then it is ``cancelling``, and its code is not tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obelisk_ops.core import events
from obelisk_ops.core.fold import RESTS, is_closing
from obelisk_ops.core.ports import State, StateRow
from obelisk_ops.durable.flow.machine import ended_by
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import ExecutionNotFound

if TYPE_CHECKING:
    from obelisk_ops.durable.scheduler import Scheduler


class Closing:
    """See the module."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._engine = scheduler

    def cancel(self, row: StateRow) -> Turn:
        """End one that is parked, or has not begun; at once, if nothing below it is open."""
        children = self._open_children(row)
        if not children:
            return self._finish(row)
        engine = self._engine
        turn = engine.open(row.key)
        turn.waits = engine.waits(engine.registry.get(row.function))
        engine.cold.append(turn, row.key, events.CancelRequested(), engine.now_ms())
        engine.cold.change(turn, row.key, State.CANCELLING)
        self._cancel_all(children, turn)
        turn.effects.append((engine.post, (self.look, row.key)))
        turn.run()
        return turn

    def look(self, key: int) -> None:
        """End one that waits for its children, if none of them is open any more."""
        engine = self._engine
        try:
            row = engine.store.get(key)
        except ExecutionNotFound:
            return  # it was over, and has been pruned
        if row.state is not State.CANCELLING:
            return
        if engine.cold.is_busy(row.id, key):
            engine.open().effects.append((engine.post, (self.look, key)))
        elif is_closing(engine.store.events_of(key, RESTS)):
            children = self._open_children(row)
            if not children:
                self._finish(row)
                return
            turn = engine.open()  # again: a crash may have come between
            self._cancel_all(children, turn)
            turn.run()

    def _open_children(self, row: StateRow) -> list[StateRow]:
        below = self._engine.store.unfinished_below(row.id)
        return [child for child in below if child.parent == row.key]

    def _cancel_all(self, children: list[StateRow], turn: Turn) -> None:
        for child in children:
            if self._goes_with_its_parent(child):
                self._engine.nursery.cancel_child(child.id, turn)

    def _goes_with_its_parent(self, child: StateRow) -> bool:
        function = self._engine.registry.get(child.function)
        if function is not None:
            return function.cancellable is True
        created: events.Created = events.decode(self._engine.store.first(child.key))
        return created.with_parent

    def _finish(self, row: StateRow) -> Turn:
        engine = self._engine
        turn = engine.open(row.key)
        turn.waits = engine.waits(engine.registry.get(row.function))
        outcome = ended_by(events.CancelRequested())
        engine.cold.finish(turn, row, outcome, engine.now_ms())
        engine.nursery.tell_parent(row, events.encode(outcome), turn)
        turn.effects.append((engine.roster.tell, (row.id,)))
        for _, n in turn.write.timers_done:
            turn.effects.append((engine.alarms.drop, ((row.key, n),)))
        turn.run()
        return turn
