"""
What is asked of the bucket now and then besides the positions of one database.

Whether another machine has opened a later epoch, where the oldest restore point lies, and,
when something is much too late, whether we may write at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import CredentialsError
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.layout import ReplicaKeys, epoch_of_marker
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.supervise.health import Problem

T = TypeVar("T")

#: How often it looks whether another machine has opened a later epoch.
MARKERS_MS = 120_000
#: How often the oldest restore point is looked up: it lists the whole replica.
WINDOW_MS = 3_600_000
#: What is so much too late is not explained by a slow network: may we write at all?
_SUSPICIOUS_MS = 3_000
_WRITE_PROBE_MS = 15_000


class Call(Protocol):
    """Asks the bucket, on the account of this database."""

    def __call__(
        self, request: Callable[[ObjectStore], T], *, is_write: bool = False
    ) -> Awaitable[T]:
        """Return the answer."""
        ...


class Scout:
    """
    See the module.

    Attributes:
        problem: Why nothing can be written to this replica, as far as was asked.
        superseded: The later epoch that another machine has opened, if one has.
        oldest_point_ms: The oldest moment that can be restored; None if not known.
    """

    def __init__(self, keys: ReplicaKeys, epoch: int, *, clock: Clock, call: Call) -> None:
        self.problem: Problem | None = None
        self.superseded: int | None = None
        self.oldest_point_ms: int | None = None
        self._keys, self._epoch = keys, epoch
        self._clock, self._call = clock, call
        self._markers_ms = clock.elapsed_ms()
        self._window_ms: int | None = None
        self._probed_ms = 0

    async def look_for_successor(self) -> None:
        """
        Look whether a later epoch was opened, if it is time to.

        Raises:
            OpsError: The bucket does not answer.
        """
        now_ms = self._clock.elapsed_ms()
        if now_ms - self._markers_ms < MARKERS_MS:
            return
        own = self._keys.marker(self._epoch)

        def later(store: ObjectStore) -> list[int]:
            found = store.list(self._keys.markers, after=own)
            return [epoch for info in found if (epoch := epoch_of_marker(info.key))]

        epochs = await self._call(later)
        self._markers_ms = now_ms
        self.superseded = max(epochs, default=None)

    async def look_at_window(self) -> None:
        """
        Look up the oldest restore point, if it is time to.

        Raises:
            OpsError: The bucket does not answer.
        """
        now_ms = self._clock.elapsed_ms()
        if self._window_ms is not None and now_ms - self._window_ms < WINDOW_MS:
            return
        replica = await self._call(lambda store: read_replica(store, self._keys))
        self._window_ms = now_ms
        self.oldest_point_ms = min((point.listed_ms for point in replica.lineage), default=None)

    async def try_to_write(self, oldest_ms: int | None, *, sync_interval_ms: int) -> None:
        """
        Write something, if what waits since *oldest_ms* is suspiciously late.

        Raises:
            OpsError: The bucket does not answer.
        """
        now_ms = self._clock.elapsed_ms()
        patience_ms = 3 * sync_interval_ms + _SUSPICIOUS_MS
        is_late = oldest_ms is not None and now_ms - oldest_ms > patience_ms
        is_suspected = self.problem is not None
        if not (is_late or is_suspected) or now_ms - self._probed_ms < _WRITE_PROBE_MS:
            return
        self._probed_ms = now_ms
        key = f"{self._keys.markers}probe"
        try:
            await self._call(lambda store: store.put(key, b""), is_write=True)
        except CredentialsError as error:
            since_ms = self.problem.since_ms if self.problem else now_ms
            self.problem = Problem(code=error.code, text=error.message, since_ms=since_ms)
        else:
            self.problem = None
