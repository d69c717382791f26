"""
From turns to durable turns: group commit on the thread that drives the workflows.

What may be seen of a turn happens then; where the bucket must hold it first, the gate
holds it back until then, and the thread drives on.

A failed commit acknowledges nobody. It is tried again as it is, while what was decided
waits in memory; when that takes too long everybody is told, and a restart goes on from
the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from obelisk_ops.core.barrier import Barrier
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import LogStore, Write
from obelisk_ops.durable.gate import Gate
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.log import log
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import NotFinished, OpsError, ReplicationTimeout, StorageUnavailable

T = TypeVar("T")

_RETRY_S = 0.25


class Audience(Protocol):
    """Who is told what does not become of turns."""

    def refused(self, turn: Turn, error: OpsError) -> None:
        """Take note: a turn will never be durable, or not be seen before a restart."""
        ...

    def late(self, turn: Turn, error: OpsError) -> None:
        """Take note: a turn has waited too long for the bucket, and waits on."""
        ...

    def lost(self, error: OpsError) -> None:
        """Take note: nothing will become durable any more."""
        ...


class Commits:
    """
    The turns that are not durable yet, in their order.

    Attributes:
        has_told: Whether the last commit has let anybody go on who waited for it.
        has_failed: Set once the store has failed for good.
        gate: Holds back what the bucket must hold first.
    """

    def __init__(
        self, store: LogStore, clock: Clock, barrier: Barrier, limits: Limits,
        audience: Audience,
    ) -> None:  # fmt: skip
        """
        Begin with none.

        Args:
            store: Where they are made durable.
            clock: For the patience with a store that refuses.
            barrier: What is to be passed before turns that wait for the bucket are seen.
            limits: How long a commit that fails is tried again, and how patient those are
                who wait for the barrier.
            audience: Told what does not become of turns.
        """
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timeout_ms = limits.storage_timeout_s * 1000
        self._audience = audience
        self._turns: list[Turn] = []
        self._stalled_since: int | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failed: OpsError | None = None
        self.has_told = False
        self.has_failed = asyncio.Event()
        self.gate = Gate(
            barrier, clock, limits.replication,
            release=self._make_it_known, late=self._tell_late, failed=self.fail,
        )  # fmt: skip

    def check(self) -> None:
        """
        Return if there is hope.

        Raises:
            OpsError: The store has failed for good.
        """
        if self._failed is not None:
            raise self._failed

    @property
    def is_empty(self) -> bool:
        """Whether all is on this disk."""
        return not self._turns

    @property
    def is_known(self) -> bool:
        """Whether all is durable, and may be seen."""
        return not self._turns and self.gate.is_empty

    def effects_to_come(self, wanted: Callable[..., None]) -> Iterator[tuple[Any, ...]]:
        """Yield the arguments of what is still to be done once it may be seen."""
        for turn in (*self.gate, *self._turns):
            yield from (args for call, args in turn.effects if call == wanted)

    def holds(self, key: int) -> bool:
        """Tell whether something of an execution waits for the bucket, or will."""
        to_come = [turn.keys() for turn in self._turns if turn.waits]
        return self.gate.holds(key) or any(key in keys for keys in to_come)

    def open(self, execution: int = 0) -> Turn:
        """Return a new turn, the last of the next commit."""
        turn = Turn(Write(execution, []))
        self._turns.append(turn)
        return turn

    def drop(self, turn: Turn) -> None:
        """Forget a turn that nothing was written to."""
        self._turns.remove(turn)

    def commit(self) -> None:
        """Make all turns durable with one sync; then let happen what need not wait."""
        if not self._turns:
            return
        if self._failed is not None:
            self._refuse_all(self._failed)
            return
        turns, self._turns = self._turns, []
        writes = [turn.write for turn in turns if turn.write.log or not turn.write.is_log_only]
        try:
            guilty = self._store.commit(writes) if writes else {}
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._turns = turns
            self._keep_or_fail(as_ops_error(error))
            return
        if self._stalled_since is not None:
            self._note_that_it_goes_on(self._stalled_since)
        if writes:
            self.gate.wrote()
        for position in guilty:
            self._refuse(_turn_of(writes[position], turns), guilty[position])
        _settle(turns)
        self._make_it_known(self.gate.let_through(turns))

    def _make_it_known(self, turns: list[Turn]) -> None:
        self.has_told = False
        for turn in turns:
            for waiter in turn.acks:
                self.has_told = True
                answer(waiter, None)
        try:
            for turn in turns:
                for call, args in turn.effects:
                    call(*args)
        except Exception as error:  # noqa: BLE001 - a restart does the rest
            self.fail(as_ops_error(error))

    def fail(self, error: OpsError) -> None:
        """Stop: tell everybody who waits; what is not durable is redone after a restart."""
        log.error("engine_failed", error=error.message)
        self._failed = error
        self.has_failed.set()
        self._refuse_all(error)
        self._audience.lost(error)

    def close(self) -> None:
        """Tell who waits for what could not be made durable; it is as if never asked for."""
        if self._retry is not None:
            self._retry.cancel()
        unsent = ReplicationTimeout(
            "the engine was closed before this was proven to be in the bucket",
            hint="it is on this disk; ask again: the same id and input attach to it",
        )
        for turn in self.gate.close():
            self._refuse(turn, unsent)
        told = StorageUnavailable(
            "the engine was closed before this was durable",
            hint="ask again: the same id and input attach to what there is",
        )
        self._refuse_all(told)

    def _keep_or_fail(self, error: OpsError) -> None:
        now_ms = self._clock.elapsed_ms()
        if self._stalled_since is None:
            self._stalled_since = now_ms
            log.warning("commit_failed", error=error.message)
        is_over = now_ms - self._stalled_since > self._timeout_ms
        if is_over or not isinstance(error, StorageUnavailable):
            self.fail(error)
            return
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(_RETRY_S, self.commit)

    def _note_that_it_goes_on(self, since_ms: int) -> None:
        self._stalled_since = None
        log.warning("commits_again", waited_ms=self._clock.elapsed_ms() - since_ms)

    def _tell_late(self, turn: Turn, error: OpsError) -> None:
        """Tell who waits for a turn that takes too long; its effects still happen once."""
        for waiter in turn.acks:
            refuse(waiter, error)
        turn.acks.clear()
        self._audience.late(turn, error)

    def _refuse_all(self, error: OpsError) -> None:
        for turn in self.gate.close():
            self._refuse(turn, error)
        turns, self._turns = self._turns, []
        for turn in turns:
            self._refuse(turn, error)

    def _refuse(self, turn: Turn, error: OpsError) -> None:
        for waiter in turn.acks:
            refuse(waiter, error)
        self._audience.refused(turn, error)
        turn.effects.clear()
        turn.acks.clear()
        if turn.settled is not None:
            turn.settled(False)  # noqa: FBT003
            turn.settled = None


def _settle(turns: list[Turn]) -> None:
    for turn in turns:
        if turn.settled is not None:
            turn.settled(True)  # noqa: FBT003
            turn.settled = None


def _turn_of(write: Write, turns: list[Turn]) -> Turn:
    return next(turn for turn in turns if turn.write is write)


def as_ops_error(error: Exception) -> OpsError:
    """Return an error that callers can be told."""
    if isinstance(error, OpsError):
        return error
    return OpsError(f"the engine failed: {type(error).__name__}: {error}")


def answer(waiter: asyncio.Future[T], value: T) -> None:
    """Let a waiter go on, if it still waits."""
    if not waiter.done():
        waiter.set_result(value)


def refuse(waiter: asyncio.Future[T], error: OpsError) -> None:
    """Give a waiter an error, if it still waits."""
    if not waiter.done():
        waiter.set_exception(error)


def closed_error() -> NotFinished:
    """Return what those are told who still wait when the engine is left."""
    return NotFinished(
        "the engine was closed before this execution was finished",
        hint="it goes on when an engine serves its workflow again",
    )
