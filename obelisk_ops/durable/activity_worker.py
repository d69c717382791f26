"""
A worker that owns no executions: it makes attempts of the tasks that others offer.

For machines that have what some activities need, and are to have nothing else to do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import Write
from obelisk_ops.durable.alarms import Alarms
from obelisk_ops.durable.claiming import Claiming
from obelisk_ops.durable.flow.attempt import Attempt
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.log import log
from obelisk_ops.durable.work.workshop import Workshop
from obelisk_ops.errors import ConfigError, OpsError
from obelisk_ops.storage import Address, Place, make_if_missing


class ActivityWorker:
    """See the module. Used by the loop's thread."""

    def __init__(self, place: Place, clock: Clock, registry: Registry, limits: Limits) -> None:
        """
        Begin to claim.

        Args:
            place: The schema on a server.
            clock: Where the time comes from.
            registry: Whose code is here.
            limits: Which queues, and how much of them.

        Raises:
            StorageUnavailable: The server does not answer.
        """
        make_if_missing(place)
        loop = asyncio.get_running_loop()
        self._loop, self._grace_s = loop, limits.grace_s
        self._has_failed: asyncio.Future[NoReturn] = loop.create_future()
        self._has_failed.add_done_callback(
            lambda failed: failed.cancelled() or failed.exception()
        )
        self._arrivals: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._alarms = Alarms(loop, clock)
        # Rates are kept where tasks are claimed.
        queues = tuple(replace(queue, rate=None) for queue in limits.bench.queues)
        self._workshop = Workshop(
            replace(limits.bench, queues=queues), clock, self._alarms,
            report=_end, post=self._post, start_next=_nobody,
        )  # fmt: skip
        self._claiming = Claiming(
            place, self._workshop, clock, registry, limits, failed=self._fail
        )

    async def close(self) -> None:
        """Let attempts end, say what came of them, and be no worker any more."""
        self._claiming.stop()
        try:
            await self._workshop.close(self._grace_s)
        finally:
            self._alarms.stop()
            self._claiming.close()

    async def failed(self) -> NoReturn:
        """Wait until the server fails for good, and raise that."""
        await asyncio.shield(self._has_failed)
        raise AssertionError

    def _fail(self, error: OpsError) -> None:
        log.error("worker_failed", error=error.message)
        if not self._has_failed.done():
            self._has_failed.set_exception(error)

    def _post(self, call: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        self._arrivals.append((call, args))
        if len(self._arrivals) == 1:
            self._loop.call_soon(self._go_round)

    def _go_round(self) -> None:
        while self._arrivals:
            call, args = self._arrivals.popleft()
            call(*args)
        if self._workshop.has_news:
            write = Write(0, [])
            self._workshop.ride(write)
            self._claiming.beat(write)


def _end(attempt: Attempt, result: bytes | None, error: BaseException | None) -> None:
    assert attempt.on_end is not None
    attempt.on_end(attempt, result, error)


def _nobody(_caller: object, _n: int) -> None:
    """Nobody here owns the call of an attempt."""


def served_by_many(address: Address) -> Place:
    """
    Return the schema in which many workers may make attempts.

    Raises:
        ConfigError: It is a file: one process serves it.
    """
    if isinstance(address, Place):
        return address
    raise ConfigError(
        f"{address} is a file: the process that owns it makes all attempts",
        hint="workers beside the owner need a database on a server: postgresql://…",
    )
