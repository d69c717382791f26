"""
From turns to durable turns: group commit on the thread that drives the workflows.

A failed commit acknowledges nobody. It is tried again as it is, while what was decided
waits in memory; when that takes too long everybody is told, and a restart goes on from
the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import LogStore, Write
from obelisk_ops.durable.log import log
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import NotFinished, OpsError, StorageUnavailable

T = TypeVar("T")

_RETRY_S = 0.25


class Commits:
    """The turns that are not durable yet, in their order."""

    def __init__(
        self, store: LogStore, clock: Clock, *, timeout_s: float,
        refused: Callable[[Turn, OpsError], None], failed: Callable[[OpsError], None],
    ) -> None:  # fmt: skip
        """
        Begin with none.

        Args:
            store: Where they are made durable.
            clock: For the patience with a store that refuses.
            timeout_s: How long a commit that fails is tried again.
            refused: Told of a turn that will never be durable.
            failed: Told when the store has failed for good.
        """
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timeout_ms = timeout_s * 1000
        self._refused = refused
        self._tell_failed = failed
        self._turns: list[Turn] = []
        self._stalled_since: int | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failed: OpsError | None = None
        self.has_failed = asyncio.Event()

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
        """Whether all is durable."""
        return not self._turns

    def open(self, execution: int = 0) -> Turn:
        """Return a new turn, the last of the next commit."""
        turn = Turn(Write(execution, []))
        self._turns.append(turn)
        return turn

    def drop(self, turn: Turn) -> None:
        """Forget a turn that nothing was written to."""
        self._turns.remove(turn)

    def commit(self) -> None:
        """Make all turns durable with one sync; then let their effects happen."""
        if not self._turns:
            return
        if self._failed is not None:
            self._refuse_all(self._failed)
            return
        turns, self._turns = self._turns, []
        written = [turn for turn in turns if turn.write.log or not turn.write.is_log_only]
        try:
            guilty = self._store.commit([turn.write for turn in written]) if written else {}
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._turns = turns
            self._keep_or_fail(as_ops_error(error))
            return
        self._stalled_since = None
        for position, reason in guilty.items():
            self._refuse(written[position], reason)
        self._make_it_known(turns)

    def _make_it_known(self, turns: list[Turn]) -> None:
        for turn in turns:
            for waiter in turn.acks:
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
        self._tell_failed(error)

    def close(self) -> None:
        """Tell who waits for what could not be made durable; it is as if never asked for."""
        if self._retry is not None:
            self._retry.cancel()
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

    def _refuse_all(self, error: OpsError) -> None:
        turns, self._turns = self._turns, []
        for turn in turns:
            self._refuse(turn, error)

    def _refuse(self, turn: Turn, error: OpsError) -> None:
        for waiter in turn.acks:
            refuse(waiter, error)
        self._refused(turn, error)
        turn.effects.clear()
        turn.acks.clear()


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
