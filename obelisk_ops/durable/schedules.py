"""
The owner's schedules: each due slot becomes one execution, or is skipped.

The execution and the advance of its schedule are one write, and an execution's id holds
its slot: whatever happens to this process or to the clock, a slot is made once.

A schedule is looked at where its workflow is served; elsewhere it waits for such a place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from obelisk_ops.core import cron, events, schedules
from obelisk_ops.core.cron import Plan, Spec, Standing
from obelisk_ops.core.ports import Letter, State
from obelisk_ops.core.rows import CronRow
from obelisk_ops.durable.flow.registry import created
from obelisk_ops.durable.log import log
from obelisk_ops.durable.turn import Turn

if TYPE_CHECKING:
    from obelisk_ops.durable.scheduler import Scheduler

_LOOK_AGAIN_S = 3600.0


class Schedules:
    """See the module. Used by the engine's thread alone."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._engine = scheduler
        self._rows: dict[str, CronRow] = {}
        self._watched: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: cancels an execution, whoever has it
        self.cancel: Callable[[str], object] = scheduler.requests.cancel_if_any

    def look_at_waiting(self) -> None:
        """Look whether what others run has ended, where a slot waits for that."""
        for schedule_id, row in self._rows.items():
            if row.waiting is not None:
                self._engine.post(self.look, schedule_id)

    def take_up(self) -> None:
        """Look after all schedules from now on."""
        self._rows = {row.id: row for row in self._engine.store.crons()}
        # Not at once: letters that wait may say that one of them is paused, or deleted.
        self._timer = asyncio.get_running_loop().call_later(0, self._look_at_all)

    def close(self) -> None:
        """Look at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def adopt(self, functions: Collection[str]) -> None:
        """Look at the schedules of workflows that are served from now on."""
        for schedule_id, row in self._rows.items():
            spec = _read(row)
            if spec is not None and spec.fn in functions:
                self._engine.post(self.look, schedule_id)

    # -- asked -----------------------------------------------------------------------------

    def answer(self, letter: Letter) -> Turn:
        """
        Do what a letter asks for.

        Returns:
            The turn: when it is durable, it is done.

        Raises:
            Conflict: It exists and does something else.
            NotFound: There is no such schedule.
            msgspec.DecodeError: A later version wrote the letter.
        """
        schedule_id = letter.target
        request = msgspec.json.decode(letter.body, type=schedules.Request)
        row = self._rows.get(schedule_id)
        asked = schedules.applied(schedule_id, row, request, letter.at)
        turn = self._engine.open()
        if asked is None:
            self._rows.pop(schedule_id, None)
            self._engine.alarms.drop((schedules.KIND, schedule_id))
            turn.write.crons_gone = (schedule_id,)
        elif asked != row:
            self._keep(turn, asked)
            self._engine.post(self.look, schedule_id)
        return turn

    def trigger(self, execution_id: str, asked: events.Created) -> Turn:
        """Begin an execution of a schedule now, beside its slots."""
        row = self._rows.get(asked.cron)
        turn = self._begin(execution_id, asked)
        if row is not None:
            running = (*row.running, execution_id)
            changed = replace(row, running=running, newest=execution_id, made=row.made + 1)
            self._keep(turn, changed)
        return turn

    # -- due -------------------------------------------------------------------------------

    def look(self, schedule_id: str) -> None:
        """Do what is due, and see to it that what is next will be."""
        row = self._rows.get(schedule_id)
        spec = None if row is None else _read(row)
        if row is None or spec is None or not self._engine.is_served(spec.fn):
            return
        running = tuple(name for name in row.running if self._is_unfinished(name))
        standing = Standing(
            last=row.last, waiting=row.waiting, running=len(running), is_paused=row.paused
        )
        now_ms = self._engine.now_ms()
        try:
            plan = cron.decide(spec, standing, now_ms)
        except Exception as error:  # noqa: BLE001 - such as a zone that this machine has not
            log.error("schedule_broken", schedule=schedule_id, error=str(error))
            return
        if plan.missed:
            log.warning("slots_missed", schedule=schedule_id, catch_up=spec.catch_up)
        self._carry_out(replace(row, running=running), row, spec, plan)
        self._look_again(schedule_id, plan, self._rows[schedule_id].running)

    def _look_at_all(self) -> None:
        # Also long before a slot is due: the clock may have been set back.
        if not self._engine.is_closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_AGAIN_S, self._look_at_all)
            for schedule_id in self._rows:
                self._engine.post(self.look, schedule_id)

    def _carry_out(self, row: CronRow, before: CronRow, spec: Spec, plan: Plan) -> None:
        turn = None
        for slot in plan.start:
            name = cron.slot_id(row.id, slot)
            if self._exists(name):
                continue  # made before the clock was set back
            turn = self._begin(name, as_created(spec, row.id))
            # Those that overlap need no counting, and may be many.
            running = (name,) if spec.overlap == "allow" else (*row.running, name)
            row = replace(row, running=running, newest=name, made=row.made + 1)
            self._keep(turn, replace(row, last=max(row.last, slot), waiting=None))
        row = replace(
            row, last=plan.last, due=plan.due, waiting=plan.waiting,
            skipped=row.skipped + plan.skipped,
        )  # fmt: skip
        if turn is not None or replace(row, running=before.running) != before:
            self._keep(turn or self._engine.open(), row)
        if plan.cancel_running:
            for name in row.running:
                self.cancel(self._engine.nursery.latest(name))

    def _look_again(self, schedule_id: str, plan: Plan, running: tuple[str, ...]) -> None:
        key = (schedules.KIND, schedule_id)
        if plan.look_at is None:
            self._engine.alarms.drop(key)
        else:
            look = partial(self._engine.post, self.look, schedule_id)
            self._engine.alarms.set(key, plan.look_at, look)
        if plan.waiting is not None:
            for name in running:
                self._watch(schedule_id, name)

    def _watch(self, schedule_id: str, execution_id: str) -> None:
        """Look again when an execution has ended."""
        if execution_id in self._watched:
            return
        self._watched.add(execution_id)

        def ended(waiter: Any) -> None:  # noqa: ANN401 - a future
            self._watched.discard(execution_id)
            if not waiter.cancelled() and waiter.exception() is None:
                self._engine.post(self.look, schedule_id)

        waiter = self._engine.roster.wait(self._engine.nursery.latest(execution_id))
        waiter.add_done_callback(ended)

    # -- inside ----------------------------------------------------------------------------

    def _begin(self, execution_id: str, body: events.Created) -> Turn:
        function = self._engine.registry.get(body.fn)
        if function is not None:
            body = created(function, body.input, cron=body.cron)
        return self._engine.nursery.begin(execution_id, body)

    def _keep(self, turn: Turn, row: CronRow) -> None:
        self._rows[row.id] = row
        turn.write.crons = (*turn.write.crons, row)

    def _exists(self, execution_id: str) -> bool:
        return (
            self._engine.roster.find(execution_id) is not None
            or self._engine.cold.is_busy(execution_id, None)
            or self._engine.store.find(execution_id) is not None
        )

    def _is_unfinished(self, execution_id: str) -> bool:
        latest = self._engine.nursery.latest(execution_id)
        live = self._engine.roster.find(latest)
        if live is not None:
            return live.machine.finished is None
        row = self._engine.store.find(latest)
        return self._engine.cold.is_busy(latest, None) if row is None else (
            row.state is not State.FINISHED
        )  # fmt: skip


def as_created(spec: Spec, schedule_id: str) -> events.Created:
    """Return the ``created`` event of an execution, as far as a schedule knows it."""
    return events.Created(
        fn=spec.fn, input=Raw(spec.input), cron=schedule_id, timeout=spec.timeout,
        cancellable=spec.cancellable,
    )  # fmt: skip


def _read(row: CronRow) -> Spec | None:
    try:
        return schedules.decode_spec(row)
    except msgspec.DecodeError:
        log.warning("schedule_unreadable", schedule=row.id, hint="a later version wrote it")
        return None
