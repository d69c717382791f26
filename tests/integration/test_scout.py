"""What a supervisor says of the oldest restore point, as objects go from a real bucket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import At
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.objectstore.meter import METER, Meter
from obelisk_ops.replica.chain import examine, read_files
from obelisk_ops.replica.epochs import Parent
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.restore.choose import choose
from obelisk_ops.supervise.scout import WINDOW_MS, Scout
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase
from tests.support import wait_until

T = TypeVar("T")

CLOCK = SystemClock()


class Later(SystemClock):
    """A clock that can be put forward."""

    ahead_ms = 0

    def elapsed_ms(self) -> int:
        """See Clock."""
        return super().elapsed_ms() + self.ahead_ms


class Looking:
    """A scout of the present epoch of a replica, and what it costs."""

    def __init__(self, database: ReplicatedDatabase) -> None:
        self._database, self.clock, self.calls = database, Later(), 0
        self.meter = Meter()
        self._scout = Scout(database.keys, database.epoch, clock=self.clock, call=self._call)

    async def _call(self, request: Callable[[ObjectStore], T], *, is_write: bool = False) -> T:
        assert not is_write
        self.calls += 1
        METER.set(self.meter)
        return request(self._database.store)

    def look(self) -> int | None:
        """Look, with a fresh listing of the epoch, and return the oldest moment."""
        keys, epoch = self._database.keys, self._database.epoch
        files, is_small = read_files(self._database.store, keys, epoch)
        asyncio.run(self._scout.look_at_window(examine(files, is_small=is_small)))
        return self._scout.oldest_point_ms


@pytest.fixture
def database(s3: S3, tmp_path: Path) -> ReplicatedDatabase:
    """Three changes, the first one in an earlier second, and a snapshot."""
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    made.fill(5)
    made.ship()
    edge_ms = (CLOCK.now_ms() // 1000 + 1) * 1000
    wait_until(lambda: CLOCK.now_ms() > edge_ms, 5, "the next second begins")
    made.fill(5)
    made.ship()
    made.fill(5)
    made.ship("-force-snapshot")
    return made


def restorable_ms(database: ReplicatedDatabase, at_ms: int | None) -> int:
    """Return when the state was captured that a restore of a moment gives."""
    assert at_ms is not None
    replica, times = read_replica(database.store, database.keys), PointTimes(database.store)
    point = choose(replica, At(at_ms), now_ms=at_ms + 60_000, at_of=times.at_ms)
    return times.at_ms(point)


def test_the_oldest_point_follows_the_listings_of_the_epoch(
    database: ReplicatedDatabase,
) -> None:
    looking = Looking(database)
    assert (first := restorable_ms(database, looking.look()))
    for _ in range(2):
        looking.look()
    assert looking.calls == 1, "what the listing shows is not asked for"
    assert looking.meter.sent == 1, "of a first epoch the header of that point is read alone"

    for info in list(database.store.list(database.keys.epoch(1))):
        if info.key not in (database.ltx(0, 3, 3), database.ltx(9, 1, 3)):
            database.store.delete(info.key)

    assert restorable_ms(database, looking.look()) > first
    assert looking.calls == 2
    database.close()


def test_the_oldest_point_of_an_epoch_before_is_asked_for_now_and_then(
    database: ReplicatedDatabase,
) -> None:
    database.begin_epoch(Parent(epoch=1, txid=3))
    database.fill(5)
    database.ship()
    database.close()
    looking = Looking(database)
    assert (first := restorable_ms(database, looking.look()))

    for info in list(database.store.list(database.keys.epoch(1))):
        database.store.delete(info.key)
    looking.look()
    assert looking.calls == 1
    looking.clock.ahead_ms = WINDOW_MS

    assert restorable_ms(database, looking.look()) > first
    assert looking.calls == 2
