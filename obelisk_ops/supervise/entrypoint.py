"""
A program with a supervisor around it: started when its databases are in hand, ended first.

Both live in one event loop: Litestream processes are tied to the thread that starts them,
so one death ends all, and the last sync begins in the moment in which the program ends.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from obelisk_ops import process
from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import OpsError, Unproven
from obelisk_ops.supervise.command import Command
from obelisk_ops.supervise.fleet import Log
from obelisk_ops.supervise.health import Problem, State
from obelisk_ops.supervise.outcome import Outcome
from obelisk_ops.supervise.status import Row
from obelisk_ops.supervise.supervisor import Supervisor

_LOOK_S = 0.05
#: A supervisor that fails beside a program that runs is started again after so long.
_AGAIN_S = 5.0
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What was agreed on with whoever starts it.

    Attributes:
        needed: Databases that have to be in hand before the program starts.
        patience_s: How long to wait for that; 0 is not at all.
        stop_s: How long everything may take after the signal to stop.
        grace_s: How long of it the program may take.
    """

    needed: Collection[str]
    patience_s: float
    stop_s: float
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    How it ended.

    Attributes:
        status: That of the program; 128 + N if a signal came before it was started.
        was_started: Whether the program ran at all.
        outcome: What is known of the databases; None if the supervisor failed.
    """

    status: int
    was_started: bool
    outcome: Outcome | None


class Entrypoint:
    """Runs a program with a supervisor beside it, from start to last sync."""

    def __init__(
        self,
        command: Command,
        make_supervisor: Callable[[], Supervisor],
        terms: Terms,
        *,
        clock: Clock,
        log: Log,
    ) -> None:
        self._command = command
        self._make_supervisor = make_supervisor
        self._supervisor = make_supervisor()
        self._terms = terms
        self._clock, self._log = clock, log
        self._told: signal.Signals | None = None
        self._stop_by_ms = 0

    async def run(self) -> Ending:
        """
        Start, run and stop everything.

        Raises:
            OpsError: The program was not started: a database is not in hand, the
                supervisor cannot start, or there is no such program.
        """
        with self._signals():
            supervising = asyncio.ensure_future(self._supervise())
            try:
                await self._until_in_hand(supervising)
                if self._told is None:
                    self._command.start()
                    self._log.info("command_started")
            except OpsError:
                self._supervisor.stop()
                with suppress(OpsError):
                    await supervising
                raise
            status = await self._ended()
            self._supervisor.stop(self._left_s())
            return Ending(
                status=status, was_started=self._command.was_started, outcome=await supervising
            )

    async def _ended(self) -> int:
        if not self._command.was_started:
            return 128 + (self._told or 0)
        status = await self._command.ended()
        self._log.info("command_ended", status=status)
        return status

    async def _supervise(self) -> Outcome | None:
        while True:
            try:
                return await self._supervisor.run(hears_signals=False)
            except Exception as error:
                if not self._command.was_started:
                    raise
                # The program is not ended for it: its data is on this disk.
                self._log.warning("supervisor_failed", error=str(error), again_in_s=_AGAIN_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._command.ended(), _AGAIN_S)
                return None
            self._supervisor = self._make_supervisor()

    # -- before the program starts --------------------------------------------------------

    async def _until_in_hand(self, supervising: asyncio.Future[Outcome | None]) -> None:
        until_ms = self._clock.elapsed_ms() + round(self._terms.patience_s * 1000)
        while self._told is None:
            if supervising.done():
                supervising.result()
            is_late = self._clock.elapsed_ms() >= until_ms
            if self._supervisor.is_ready and not self._waiting(is_late=is_late):
                return
            await asyncio.sleep(_LOOK_S)

    def _waiting(self, *, is_late: bool) -> bool:
        """Tell whether a database is not in hand yet; refuse one that will not be."""
        undecided = self._supervisor.undecided
        needed = [row for row in self._supervisor.rows() if row.name in self._terms.needed]
        waiting = [row for row in needed if not _is_in_hand(row)]
        for row in needed:
            if row.state in _REFUSALS and row.name not in undecided:
                raise _refusal(row, None)
        if self._terms.patience_s <= 0:
            return bool(waiting) and not is_late
        # Its first request has a limit of its own; until then there is no reason to tell.
        if waiting and is_late and self._supervisor.bucket.is_known:
            raise _refusal(waiting[0], self._supervisor.bucket.problem)
        return bool(waiting)

    # -- signals ------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in process.FORWARDED:
            loop.add_signal_handler(number, self._heard, number)
        try:
            yield
        finally:
            self._command.close()
            for number in process.FORWARDED:
                loop.remove_signal_handler(number)

    def _heard(self, number: signal.Signals) -> None:
        if number in _STOPS and self._told is not None:
            self._log.warning("stopping", at_once=True)
            self._command.kill()
            self._supervisor.stop_at_once()
            return
        if number == signal.SIGHUP:
            self._supervisor.hang_up()
        self._command.send(number)
        if number in _STOPS:
            self._told = number
            self._stop_by_ms = self._clock.elapsed_ms() + round(self._terms.stop_s * 1000)
            grace_s = self._terms.grace_s
            self._log.info("stopping", signal=number.name, grace_s=grace_s)
            asyncio.get_running_loop().call_later(grace_s, self._grace_is_over)

    def _grace_is_over(self) -> None:
        if self._command.is_running:
            self._log.warning("command_killed", after_s=self._terms.grace_s)
            self._command.kill()

    def _left_s(self) -> float | None:
        if self._told is None:
            return None
        return max(0, self._stop_by_ms - self._clock.elapsed_ms()) / 1000


_REFUSALS = frozenset({State.FENCED.value, State.FATAL.value})


def _is_in_hand(row: Row) -> bool:
    # An epoch is known once the bucket has said that this file may be written into it.
    return row.epoch is not None or row.reason == "database_not_found"


def _refusal(row: Row, trouble: Problem | None) -> OpsError:
    code, why = row.reason, row.detail
    if trouble is not None and not code:
        code, why = trouble.code, f"{trouble.text}: {trouble.why}".rstrip(": ")
    kind = next((kind for kind in _kinds(OpsError) if kind.code == code), Unproven)
    return kind(
        f"'{row.name}' is {row.state}: {why or 'nothing is known of its backup yet'}",
        hint="the command was not started; --wait 0s starts it whatever the bucket says",
    )


def _kinds(base: type[OpsError]) -> Iterator[type[OpsError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
