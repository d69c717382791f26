"""How attempts ended, here or at another worker: recorded, and their workflows go on."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING

from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.durable.collector import MANY
from obelisk_ops.durable.flow.attempt import Attempt
from obelisk_ops.durable.rounds import Rounds

if TYPE_CHECKING:
    from obelisk_ops.durable.scheduler import Scheduler


class Outcomes:
    """Those that are not recorded yet. Used by the loop's thread."""

    def __init__(self, scheduler: Scheduler, rounds: Rounds) -> None:
        self._engine = scheduler
        self._rounds = rounds
        self._jitter = Random()  # noqa: S311 - spreads retries, guards nothing
        self._ended: deque[tuple[Attempt, bytes | None, BaseException | None]] = deque()

    @property
    def has_news(self) -> bool:
        """Whether any is to be recorded."""
        return bool(self._ended)

    def add(self, attempt: Attempt, result: bytes | None, error: BaseException | None) -> None:
        """Record one in the next round, which is now if nothing else runs."""
        rounds, workshop = self._rounds, self._engine.workshop
        if not self._ended:
            rounds.arrivals.append((self._record_all, ()))
        self._ended.append((attempt, result, error))
        if not rounds.is_going:  # else its end looks whether something is left
            # If nothing else runs nobody would share this commit.
            is_alone = workshop.is_idle and not workshop.is_starting
            rounds.hurry(is_alone=is_alone)

    def _record_all(self) -> None:
        """Record them, and go on with their workflows, one after the other."""
        if len(self._ended) >= MANY:
            self._rounds.collector.arrived(len(self._ended))
        now_ms, guard = self._engine.clock.now_ms(), self._engine.guard
        guard.lower()
        try:
            while self._ended:
                self._record(*self._ended.popleft(), now_ms)
        finally:
            guard.lift()

    def _record(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None, now_ms: int
    ) -> None:
        engine, (key, n) = self._engine, attempt.key
        execution = engine.roster.get(key)
        pending = execution.machine.pending.get(n) if execution else None
        if execution is None or pending is None:
            return
        if pending.attempt != attempt.number or not pending.running:
            return  # a late result of an attempt that timed out: its place was taken
        turn = engine.commits.open(key)
        if error is None:
            assert result is not None
            body = events.Returned(n=n, ok=Raw(result))
            execution.returned(turn, body, now_ms, attempt.told)
        else:
            execution.failed(turn, n, error, self._jitter.random(), now_ms)
        engine.workshop.ended(attempt, turn.write, is_open=pending.retry_at is not None)
        if turn.follow or turn.last:
            turn.run()
