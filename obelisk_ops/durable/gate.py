"""
Holds back what may be seen of turns until the bucket holds their commits.

It never blocks the thread that drives: a task asks for one barrier after the other as long
as anything waits. When the bucket, or the supervisor, is away it goes on asking; nothing
is let through meanwhile. Who waits for too long is told, and that is all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from obelisk_ops.core.barrier import Barrier, Replication
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.gathering import Gathering
from obelisk_ops.durable.log import log
from obelisk_ops.durable.supervised import AGAIN_S, too_late
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import ConfigError, Fenced, OpsError, Unavailable


class Gate:
    """
    The turns that are on this disk, and must not be seen yet.

    Attributes:
        trouble: Why the bucket does not hold them, if that is known.
        gave_up: Whether it was closed while something was held back.
    """

    def __init__(
        self, barrier: Barrier, clock: Clock, wanted: Replication, *,
        release: Callable[[list[Turn]], None], late: Callable[[Turn, OpsError], None],
        failed: Callable[[OpsError], None],
    ) -> None:  # fmt: skip
        """
        Begin with nothing held back.

        Args:
            barrier: What is to be passed.
            clock: For the patience of those who wait.
            wanted: How patient they are.
            release: Given the turns that may be seen now.
            late: Told of a turn whose callers have waited for too long.
            failed: Told when what waits will never be in the bucket.
        """
        self.trouble, self.gave_up = "", False
        self._barrier, self._clock, self._wanted = barrier, clock, wanted
        self._release, self._late, self._failed = release, late, failed
        self._gathering: Gathering[Turn] = Gathering()
        #: notes that a commit was made
        self.wrote = self._gathering.wrote
        self._loop = asyncio.get_running_loop()
        self._driving: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held back."""
        return self._gathering.is_empty

    @property
    def is_safe(self) -> bool:
        """Whether the bucket is known to hold the last commit."""
        return self._gathering.is_safe

    def __iter__(self) -> Iterator[Turn]:
        return iter(self._gathering)

    def let_through(self, turns: list[Turn]) -> list[Turn]:
        """Return those of the last commit's turns that may be seen; the others are held."""
        gathering = self._gathering
        if gathering.is_empty:
            for turn in turns:  # not any(…), which costs more than all else here
                if turn.waits:
                    break
            else:
                return turns
        now_ms = self._clock.elapsed_ms()
        free = [
            turn
            for turn in turns
            if gathering.place(turn, turn.keys(), waits=turn.waits, now_ms=now_ms)
        ]
        self._go_on()
        return free

    def holds(self, key: int) -> bool:
        """Tell whether something of an execution is held back."""
        return self._gathering.holds(key)

    def wake(self) -> None:
        """Ask again now, if that waits for better times: a supervisor may have come."""
        self._woken.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is held back; return whether that is so."""
        if self._driving is not None:
            await asyncio.wait({self._driving}, timeout=timeout_s)
        return self.is_empty

    def close(self) -> list[Turn]:
        """Stop, and return what is still held back."""
        if self._driving is not None:
            self._driving.cancel()
        if self._timer is not None:
            self._timer.cancel()
        left = self._gathering.give_up()
        self.gave_up = self.gave_up or bool(left)
        return left

    # -- the barrier -------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._driving is None and not self._gathering.is_empty:
            self._driving = self._loop.create_task(self._drive())
        self._watch()

    async def _drive(self) -> None:
        try:
            while self._gathering.begin():
                await self._ask()
        finally:
            self._driving = None

    async def _ask(self) -> None:
        self._woken.clear()
        try:
            await self._barrier.passed(self._told)
        except Unavailable as error:
            self._gathering.failed()
            self._told(error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._woken.wait()
        except (Fenced, ConfigError) as error:
            self._failed(error)
        except Exception as bug:  # noqa: BLE001 - nobody may wait for ever
            self._failed(OpsError(f"the barrier failed: {type(bug).__name__}: {bug}"))
        else:
            if self.trouble:
                log.info("replication_resumed")
                self.trouble = ""
            self._release(self._gathering.passed())

    def _told(self, reason: str) -> None:
        if reason and not self.trouble:
            log.warning("replication_waits", reason=reason)
        self.trouble = reason

    # -- patience ----------------------------------------------------------------------

    def _watch(self) -> None:
        timeout_ms = self._wanted.timeout_s * 1000
        due_ms = self._gathering.next_late_ms(timeout_ms, self._clock.elapsed_ms())
        if self._timer is None and due_ms is not None:
            self._timer = self._loop.call_later(due_ms / 1000, self._look_for_late)

    def _look_for_late(self) -> None:
        self._timer = None
        wanted = self._wanted
        found = self._gathering.late(wanted.timeout_s * 1000, self._clock.elapsed_ms())
        if found:
            log.warning("replication_late", turns=len(found), reason=self.trouble)
        if wanted.fails:
            told = too_late(wanted, self.trouble)
            for held in found:
                self._late(held.turn, told)
        self._watch()
