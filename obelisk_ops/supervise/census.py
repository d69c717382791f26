"""Which replicas there are below the prefix: one listing for all who begin at the same time."""

from __future__ import annotations

import asyncio

from obelisk_ops.core.clock import Clock
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.layout import folder
from obelisk_ops.supervise.bucket import Bucket

#: A replica is claimed and its first epoch opened by writes that fail if there is one by now;
#: what a listing is young for is a folder that others than supervisors have filled.
_FRESH_MS = 30_000


class Census:
    """See the module."""

    def __init__(self, prefix: str, bucket: Bucket, clock: Clock) -> None:
        self._folder, self._bucket, self._clock = folder(prefix), bucket, clock
        self._names: frozenset[str] = frozenset()
        self._listed_ms: int | None = None
        self._lock = asyncio.Lock()

    async def lacks(self, name: str) -> bool:
        """
        Tell whether the bucket held nothing of a replica a moment ago.

        Raises:
            OpsError: It does not answer.
        """
        async with self._lock:
            now_ms = self._clock.elapsed_ms()
            if self._listed_ms is None or now_ms - self._listed_ms >= _FRESH_MS:
                self._names = await self._bucket.call(self._list)
                self._listed_ms = now_ms
            return name not in self._names

    def _list(self, store: ObjectStore) -> frozenset[str]:
        return frozenset(store.folders(self._folder))
