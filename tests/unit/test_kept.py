"""What a supervisor keeps of one database, however many objects are listed of it."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from obelisk_ops.objectstore import ObjectInfo, ObjectStore
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import LitestreamSettings
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.ledger import Ledger
from obelisk_ops.supervise.tracker import Tracker

KEYS = ReplicaKeys(prefix="p", name="db")
FEW, MANY = 100, 500
#: Its number, its ETag and when it arrived, 8 bytes each, and room for more of them. As objects
#: of Python they are 400.
EACH_MAX = 60


class HandClock:
    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def elapsed_ms(self) -> int:
        return self.ms


class Busy:
    """A replica that is written all the time: files of level 0, most of them compacted too."""

    files = FEW

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        spans = [(0, n, n) for n in range(2, self.files + 2)]
        for level, first, last in [*spans, (1, 2, self.files), (9, 1, 1)]:
            key = f"{KEYS.level(1, level)}{first:016x}-{last:016x}.ltx"
            if key.startswith(prefix) and key > after:
                yield ObjectInfo(
                    key=key, size=1, modified_ms=10**9 + last, etag=f'"{last:032x}"'
                )


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def kept_by(tracker: Tracker, clock: HandClock, *, looks: int) -> int:
    """Return the bytes that are in use after so many looks at everything."""

    async def look() -> None:
        for _ in range(looks):
            clock.ms += 600_000  # whatever is done now and then is due
            await tracker.ask_now(whole=True)
            await tracker.scout.look_at_window(tracker.chain)

    asyncio.run(look())
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("traced")
def test_little_is_kept_of_a_listing_and_not_more_with_every_look(
    tmp_path: Path,
) -> None:
    """A transaction a second leaves 1,200 files in 20 minutes, of each of fifty databases."""
    store, clock = Busy(), HandClock()
    fleet = SimpleNamespace(
        bucket=Bucket(lambda: cast("ObjectStore", store), clock), clock=clock,
        litestream=LitestreamSettings(), sync_interval_ms=1_000,
    )  # fmt: skip
    tracker = Tracker(
        tmp_path / "a.db", KEYS, meta=tmp_path, ledger=Ledger(tmp_path, epoch=1, owner="x"),
        fleet=cast("Fleet", fleet), on_news=lambda: None,
    )  # fmt: skip

    few = kept_by(tracker, clock, looks=2)
    store.files = MANY
    many = kept_by(tracker, clock, looks=1)
    more = kept_by(tracker, clock, looks=4)

    assert tracker.chain is not None
    assert tracker.chain.superfluous(clock.now_ms() + 10**10) == MANY - 2, "all are known"
    assert many - few < EACH_MAX * (MANY - FEW)
    assert more - many < EACH_MAX * FEW
