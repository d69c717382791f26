"""The leases that a supervisor holds: one, and for a while two when the bucket is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import OpsError
from obelisk_ops.process import boot_id
from obelisk_ops.settings import Settings
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.fleet import Log
from obelisk_ops.supervise.launch import replica_of
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.party import Party

_SWEEP_S = 3_600


def party_of(settings: Settings, file: Path | None) -> Party:
    """
    Return who holds the leases of a configuration; their id is kept in *file*, if in one.

    Raises:
        ConfigError: It names no replica.
    """
    replica = replica_of(settings)
    return Party(
        prefix=replica.prefix,
        place=f"{replica.endpoint or 'AWS'} {replica.url}",
        host=identity.host(settings.host),
        boot_id=boot_id(),
        ttl_ms=round(settings.lease_ttl_s * 1000),
        file=file,
    )


class Rights:
    """See the module."""

    def __init__(self, clock: Clock, log: Log, *, on_halt: Callable[[Holder], None]) -> None:
        self._clock, self._log, self._on_halt = clock, log, on_halt
        self._holding: dict[Holder, asyncio.Task[None]] = {}
        self._giving_back: set[asyncio.Task[None]] = set()

    def obtain(self, settings: Settings, bucket: Bucket, file: Path) -> Holder:
        """Begin to hold a lease; its id is kept in *file*."""
        party = party_of(settings, file)
        lease = Holder(party, bucket, self._clock, self._log, on_halt=self._on_halt)
        self._holding[lease] = asyncio.ensure_future(_hold(lease, self._log))
        return lease

    def give_back_unused(self, used: Iterable[Holder]) -> None:
        """Give back what nothing is written by any more."""
        for lease in self._holding.keys() - set(used):
            giving = asyncio.ensure_future(self._give_back(lease))
            self._giving_back.add(giving)
            giving.add_done_callback(self._giving_back.discard)

    async def give_back(self) -> None:
        """Give everything back; nothing may be writing."""
        await asyncio.gather(*map(self._give_back, list(self._holding)), *self._giving_back)

    def let_go(self) -> None:
        """Renew nothing any more; what was not given back runs out."""
        for holding in self._holding.values():
            holding.cancel()
        self._holding.clear()

    async def _give_back(self, lease: Holder) -> None:
        self._holding.pop(lease).cancel()
        with suppress(OpsError):  # it runs out by itself
            await lease.release()


async def _hold(lease: Holder, log: Log) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lease.run())
        tasks.create_task(_sweep(lease, log))


async def _sweep(lease: Holder, log: Log) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        try:
            with suppress(OpsError):
                await lease.rivals.sweep(lease.id, by=lease.party.host)
        except Exception as bug:  # noqa: BLE001 - to tidy up is not worth the lease
            log.warning("bug", error=f"the sweep of old leases: {type(bug).__name__}: {bug}")
