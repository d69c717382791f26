"""What others ask of executions: in this process, or by letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from obelisk_ops.core import events
from obelisk_ops.core.events import COMMANDS
from obelisk_ops.core.facts import facts_of
from obelisk_ops.core.ports import State, StateRow
from obelisk_ops.core.requests import Pause as PauseBody
from obelisk_ops.core.requests import Signal as SignalBody
from obelisk_ops.core.requests import execution_of, is_news, split_call
from obelisk_ops.durable import outside
from obelisk_ops.durable.closing import Closing
from obelisk_ops.durable.execution import START, Execution
from obelisk_ops.durable.flow.functions import Stub, Workflow
from obelisk_ops.durable.flow.signals import Signal
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import (
    ExecutionEnded,
    ExecutionNotFound,
    NotCancellable,
    OpsError,
)

if TYPE_CHECKING:
    from obelisk_ops.durable.scheduler import Scheduler


#: requests that are refused to an execution which goes on in another database
_OF_THE_MOVED = ("unpause", "cancel", "signal")


class Later(OpsError):
    """What the request is about is not durable yet: ask again after the next commit."""


class Requests:
    """Each request becomes one turn; asking again for what is so changes nothing."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.closing = Closing(scheduler)
        self._engine = scheduler

    def answer(self, kind: str, target: str, body: str) -> Turn:
        """
        Do what is asked.

        Returns:
            The turn: when it is durable, it is done.

        Raises:
            Conflict: It contradicts what is.
            NotFound: There is no such execution, or call.
            InvalidInput: A signal, or a stub's result, does not fit.
            Later: Ask again after the next commit.
        """
        execution_id = execution_of(kind, target)
        if kind != "stub":
            target = execution_id = self._engine.nursery.latest(execution_id)
        live = self._engine.roster.find(execution_id)
        if live is None:
            return self._answer_cold(kind, target, body, execution_id)
        if live.machine.finished is not None:
            raise ExecutionEnded(f"execution {execution_id!r} is finished")
        return self._answer_live(kind, target, body, live)

    def cancel_if_any(self, execution_id: str) -> None:
        """Cancel an execution; it may have ended meanwhile."""
        try:
            self.answer("cancel", execution_id, "{}")
        except Later:
            self._engine.after_commit(self._engine.post, self.cancel_if_any, execution_id)
        except OpsError:
            return

    # -- in memory ---------------------------------------------------------------------

    def _answer_live(self, kind: str, target: str, body: str, live: Execution) -> Turn:
        if kind == "cancel" and live.function.cancellable is False:
            raise NotCancellable(
                f"execution {live.id!r} runs a workflow that says cancellable=False"
            )
        if live.is_paused and kind in _OF_THE_MOVED:  # it may have been, while something runs
            store = self._engine.store
            is_news(kind, target, body, facts_of(store, kind, target, body, with_letters=False))
        if kind == "stub" and not self._is_open_stub(live, split_call(target)[1], body):
            is_news(kind, target, body, facts_of(self._engine.store, kind, target, body))
            return self._engine.open()
        if kind == "signal":
            outside.refuse_signal(live.id, self._awaited(live, body), body)
        turn = self._engine.open(live.key)
        self._engine.do(turn, self._do_live, kind, target, body, live, turn)
        return turn

    def _is_open_stub(self, live: Execution, n: int, body: str) -> bool:
        pending = live.machine.pending.get(n)
        if pending is None or not isinstance(pending.function, Stub):
            return False
        if live.inbox.answer("stub", n) is not None:
            return False
        outside.refuse_answer(pending.function, body)
        return True

    def _awaited(self, live: Execution, body: str) -> list[Signal[Any]]:
        """Return what its code waits for under a signal's name, or else may wait for."""
        name, machine = msgspec.json.decode(body, type=SignalBody).name, live.machine
        waiting = [n for n, wanted in machine.listening.items() if wanted == name]
        now = [cast("Signal[Any]", machine.pending[n].function) for n in waiting]
        return now or self._engine.registry.signals(live.function, name)

    def _do_live(self, kind: str, target: str, body: str, live: Execution, turn: Turn) -> None:
        now_ms = self._engine.now_ms()
        match kind:
            case "pause" if not live.is_paused or pause_of(body).moved:
                live.pause(turn, now_ms, pause_of(body))
                self._engine.offers.rest(live.key, turn)
            case "unpause" if live.is_paused:
                live.unpause(turn, now_ms)
            case "cancel":
                if live.is_paused:
                    live.unpause(turn, now_ms)
                if live.machine.finished is None:
                    live.cancel(turn, "", now_ms)
            case "signal":
                live.signalled(turn, msgspec.json.decode(body, type=SignalBody), now_ms)
            case "stub":
                live.answered(turn, kind, split_call(target)[1], body, now_ms)
            case _:
                pass

    # -- only on disk ------------------------------------------------------------------

    def _answer_cold(self, kind: str, target: str, body: str, execution_id: str) -> Turn:
        engine = self._engine
        row = engine.store.find(execution_id)
        is_busy = engine.cold.is_busy(execution_id, row.key if row else None)
        if is_busy and not (row is not None and self._is_one_more(kind, row)):
            raise Later(f"execution {execution_id!r} is being written")
        if row is None:
            raise ExecutionNotFound(f"there is no execution {execution_id!r}")
        facts = facts_of(engine.store, kind, target, body, with_letters=False)
        if not is_news(kind, target, body, facts):
            return engine.open()
        if kind == "cancel" and (row.state is State.PARKED or not self._is_begun(row)):
            return self.closing.cancel(row)
        live = self._load(kind, row)
        if live is None and not is_busy and engine.cold.is_busy(execution_id, row.key):
            raise Later(f"execution {execution_id!r} was parked just now")
        if live is None:
            return self._write_down(kind, target, body, row)
        return (
            engine.open() if kind == "unpause" else self._answer_live(kind, target, body, live)
        )

    def _is_one_more(self, kind: str, row: StateRow) -> bool:
        """Tell whether it is a signal to one that is, and stays, paused."""
        states = {row.state, self._engine.cold.state(row)}
        return kind == "signal" and states == {State.PAUSED}

    def _load(self, kind: str, row: StateRow) -> Execution | None:
        """Take one into memory for a request that its code is to hear of."""
        nursery = self._engine.nursery
        if kind == "pause" or row.state is State.PARKED or self._is_early(row):
            return None
        if row.state is not State.PAUSED:
            return nursery.load(row)
        if kind not in ("unpause", "cancel"):
            return None
        return nursery.load(row, events.Unpaused())

    def _is_begun(self, row: StateRow) -> bool:
        return self._engine.store.events_of(row.key, COMMANDS) != []

    def _is_early(self, row: StateRow) -> bool:
        start = self._engine.store.timers(row.key).get(START)
        return start is not None and start > self._engine.now_ms()

    def _write_down(self, kind: str, target: str, body: str, row: StateRow) -> Turn:
        """Append to one that is paused, parked, or whose workflow is not served here."""
        engine, cold = self._engine, self._engine.cold
        served = engine.registry.get(row.function)
        if served is not None:
            self._refuse_misfit(kind, target, body, row, served)
        turn, now_ms = engine.open(row.key), engine.now_ms()
        turn.waits = engine.waits(served)
        match kind:
            case "pause":
                cold.append(turn, row.key, pause_of(body), now_ms)
                cold.change(turn, row.key, State.PAUSED)
                engine.offers.rest(row.key, turn)
            case "unpause":
                cold.append(turn, row.key, events.Unpaused(), now_ms)
                cold.change(turn, row.key, State.PENDING)
                for n, due in engine.store.timers(row.key).items():  # it may have rung
                    turn.effects.append((engine.set_alarm, (row.key, n, due)))
            case "cancel":
                if row.state is State.PAUSED:
                    cold.append(turn, row.key, events.Unpaused(), now_ms)
                cold.append(turn, row.key, events.CancelRequested(), now_ms)
                cold.change(turn, row.key, State.CANCELLING)
            case _:
                n = split_call(target)[1] if kind == "stub" else 0
                cold.receive(turn, row.key, kind, n, body, now_ms)
                if row.state is State.BLOCKED:
                    cold.change(turn, row.key, State.PENDING)
        return turn

    def _refuse_misfit(
        self, kind: str, target: str, body: str, row: StateRow, served: Workflow[Any, Any]
    ) -> None:
        """Refuse what does not fit code that is served, though it does not run."""
        registry = self._engine.registry
        if kind == "signal":
            name = msgspec.json.decode(body, type=SignalBody).name
            outside.refuse_signal(row.id, registry.signals(served, name), body)
        elif kind == "stub":
            stub = registry.stub(served, self._stub_name(row, split_call(target)[1]))
            if stub is not None:
                outside.refuse_answer(stub, body)

    def _stub_name(self, row: StateRow, n: int) -> str:
        for event in self._engine.store.events_of(row.key, {"stub_requested"}):
            asked = msgspec.json.decode(event.body, type=events.StubRequested)
            if asked.n == n:
                return asked.fn
        return ""


def pause_of(body: str) -> events.Paused:
    """Return the event that a ``pause`` letter asks for."""
    return events.Paused(moved=msgspec.json.decode(body, type=PauseBody).moved)
