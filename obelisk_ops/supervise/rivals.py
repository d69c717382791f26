"""What was seen of the leases of others: who lives, who has run out, who is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from obelisk_ops.errors import PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.leases import (
    SeenLease,
    break_lease,
    list_leases,
    read_lease,
    remove_lease,
)
from obelisk_ops.supervise.fencing import Rival, Sighting, judge_rival, patience_ms, sighted

if TYPE_CHECKING:
    from obelisk_ops.core.clock import Clock
    from obelisk_ops.supervise.bucket import Bucket

#: Databases that ask for the same lease within this time share one answer.
_SHARED_MS = 500
#: Whoever has not renewed for so long is not coming back; if he does, he draws another lease.
FORGOTTEN_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    One look at the lease of somebody else.

    Attributes:
        rival: What becomes of what it holds.
        host: Its machine.
        is_proven: Whether it was seen to be renewed, and not only not to have run out yet.
        rest_ms: When it will have run out, if it is not renewed.
        age_ms: How long ago it was renewed, as far as the clocks agree. For people.
    """

    rival: Rival
    host: str = ""
    is_proven: bool = True
    rest_ms: int = 0
    age_ms: int = 0


class Rivals:
    """See the module. One memory for all databases of a supervisor."""

    def __init__(self, prefix: str, bucket: Bucket, clock: Clock) -> None:
        self._prefix, self._bucket, self._clock = prefix, bucket, clock
        self._lock = asyncio.Lock()
        self._gone: set[str] = set()
        self._sightings: dict[str, Sighting] = {}
        self._renewed: set[str] = set()
        self._looks: dict[str, tuple[int, Look]] = {}
        self._listed: dict[str, Sighting] = {}

    async def look(self, lease: str, *, by: str) -> Look:
        """
        Look at a lease; break it on behalf of the machine *by* if it has run out.

        Raises:
            OpsError: The bucket does not answer.
        """
        async with self._lock:
            if lease in self._gone:
                return Look(rival=Rival.GONE)
            looked_ms, look = self._looks.get(lease, (None, None))
            now_ms = self._clock.elapsed_ms()
            if look is not None and looked_ms is not None and now_ms - looked_ms < _SHARED_MS:
                return look
            look = await self._look(lease, by)
            self._looks[lease] = (now_ms, look)
            if look.rival is Rival.GONE:
                self._gone.add(lease)
            return look

    async def sweep(self, own: str, *, by: str) -> None:
        """
        Remove the leases of machines that are gone for good, and whose databases nobody wants.

        Raises:
            OpsError: The bucket does not answer.
        """
        prefix = self._prefix
        found = await self._bucket.call(lambda store: list_leases(store, prefix))
        now_ms = self._clock.elapsed_ms()
        self._listed = {
            lease: sighted(self._listed.get(lease), etag, now_ms=now_ms)
            for lease, etag in found.items()
            if lease != own
        }
        for lease, sighting in self._listed.items():
            if now_ms - sighting.since_ms >= FORGOTTEN_MS:
                await self._bucket.call(partial(_forget, prefix, lease, sighting.etag, by))

    async def _look(self, lease: str, by: str) -> Look:
        prefix, began_ms = self._prefix, self._clock.elapsed_ms()
        seen = await self._bucket.call(lambda store: read_lease(store, prefix, lease))
        before = self._sightings.get(lease)
        if seen is None:
            return Look(rival=Rival.GONE)
        now_ms = self._clock.elapsed_ms()
        sighting = self._sightings[lease] = sighted(before, seen.etag, now_ms=now_ms)
        if before is not None and sighting is not before:
            self._renewed.add(lease)
        if judge_rival(seen, sighting, now_ms=began_ms) is Rival.RUN_OUT:
            return await self._break(seen, by)
        return self._living(seen, sighting, now_ms)

    async def _break(self, seen: SeenLease, by: str) -> Look:
        prefix = self._prefix
        try:
            await self._bucket.call(
                lambda store: break_lease(store, prefix, seen, by=by), is_write=True
            )
        except PreconditionFailed:
            # It was renewed at the last moment, or somebody was faster: looked at again.
            return Look(rival=Rival.LIVES, host=seen.lease.host, is_proven=False)
        return Look(rival=Rival.GONE)

    def _living(self, seen: SeenLease, sighting: Sighting, now_ms: int) -> Look:
        until_ms = sighting.since_ms + patience_ms(seen.lease.ttl_ms)
        return Look(
            rival=Rival.LIVES,
            host=seen.lease.host,
            is_proven=seen.lease.id in self._renewed,
            rest_ms=max(0, until_ms - now_ms),
            age_ms=max(0, self._clock.now_ms() - seen.renewed_ms),
        )


def _forget(prefix: str, lease: str, etag: str, by: str, store: ObjectStore) -> None:
    seen = read_lease(store, prefix, lease)
    if seen is None:
        remove_lease(store, prefix, lease)  # broken by somebody who died before he removed it
    elif seen.etag == etag:
        with suppress(PreconditionFailed):
            break_lease(store, prefix, seen, by=by)
