"""
What is asked of the bucket now and then besides the positions of one database.

Whether another machine has opened a later epoch, where the oldest restore point lies, and,
when something is much too late, whether we may write at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import CredentialsError, DamagedObject, ObjectNotFound
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import Point
from obelisk_ops.replica.chain import Chain
from obelisk_ops.replica.layout import ReplicaKeys, epoch_of_marker
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.ownership import FIRST_EPOCH

T = TypeVar("T")

#: How often it looks whether another machine has opened a later epoch.
MARKERS_MS = 120_000
#: How often it is asked whether the oldest restore point is still there, where no listing
#: that is made anyway tells.
WINDOW_MS = 600_000
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
        oldest_point_ms: The oldest whole second that can be restored; None if not known.
    """

    def __init__(self, keys: ReplicaKeys, epoch: int, *, clock: Clock, call: Call) -> None:
        self.problem: Problem | None = None
        self.superseded: int | None = None
        self.oldest_point_ms: int | None = None
        self._keys, self._epoch = keys, epoch
        self._clock, self._call = clock, call
        self._markers_ms = clock.elapsed_ms()
        self._window_ms: int | None = None
        self._oldest: Point | None = None
        self._chain: Chain | None = None  # the listing that told it
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

    async def look_at_window(self, chain: Chain | None) -> None:
        """
        Look up the oldest restore point, if it is time to.

        Args:
            chain: The last listing of the epoch. If the oldest point is in it, that tells,
                and one that is gone is noticed without asking.

        Raises:
            OpsError: The bucket does not answer.
        """
        now_ms, known = self._clock.elapsed_ms(), self._oldest
        listed = chain.oldest if chain and chain.is_small else None
        if known is None and listed is not None and self._epoch == FIRST_EPOCH:
            known = listed  # no epoch is before it: there is nothing else to list
        elif known is not None and known.epoch == self._epoch and chain and chain.is_small:
            is_same = chain.oldest is not None and chain.oldest.file.key == known.file.key
            if is_same or chain is self._chain:
                return
            known = chain.oldest
        elif self._window_ms is not None and now_ms - self._window_ms < WINDOW_MS:
            return
        oldest, at_ms = await self._call(lambda store: _see_oldest(store, self._keys, known))
        self._window_ms, self._oldest, self._chain = now_ms, oldest, chain
        # Rounded up, never down: the moment that is shown can be asked for.
        self.oldest_point_ms = None if at_ms is None else -(-at_ms // 1000) * 1000

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


def _see_oldest(
    store: ObjectStore, keys: ReplicaKeys, known: Point | None
) -> tuple[Point | None, int | None]:
    """Return the oldest point and its time: *known* with one GET, if it is still there."""
    times = PointTimes(store)
    if known is not None:
        with suppress(ObjectNotFound):
            return known, _at_ms(times, known)
    found = read_replica(store, keys).lineage[:1]
    return (found[0], _at_ms(times, found[0])) if found else (None, None)


def _at_ms(times: PointTimes, point: Point) -> int:
    try:
        return times.at_ms(point)
    except DamagedObject:
        return point.listed_ms
