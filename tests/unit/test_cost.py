"""What a database costs in requests: the sum, and an hour at rest on a clock that is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from obelisk_ops.litestream.local import Tail, level0_file
from obelisk_ops.objectstore import ObjectInfo, ObjectStore
from obelisk_ops.objectstore.meter import METER, Meter, count_request
from obelisk_ops.replica.chain import examine, read_files
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import LitestreamSettings
from obelisk_ops.settings.values import PROFILES
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.cost import Account, Pace, requests_per_day
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.ledger import Ledger
from obelisk_ops.supervise.position import Local
from obelisk_ops.supervise.tracker import Tracker

KEYS = ReplicaKeys(prefix="p", name="db")
MINUTES = 59


class HandClock:
    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def elapsed_ms(self) -> int:
        return self.ms


class Small:
    """A replica of two transactions and a snapshot; counts what it is asked."""

    def __init__(self) -> None:
        self.asked, self.size = 0, 1
        names = ("0000/{0:016x}-{0:016x}", "0000/{1:016x}-{1:016x}", "0009/{0:016x}-{1:016x}")
        self.keys = [f"{KEYS.epoch(1)}{name.format(1, 2)}.ltx" for name in names]

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.asked += 1
        count_request()
        for key in self.keys:
            if key.startswith(prefix) and key > after:
                yield ObjectInfo(key=key, size=self.size, modified_ms=5, etag="")


def tracker_of(
    store: Small, clock: HandClock, folder: Path, litestream: LitestreamSettings
) -> Tracker:
    """Follow a database whose two transactions are in the bucket."""
    fleet = SimpleNamespace(
        bucket=Bucket(lambda: cast("ObjectStore", store), clock), clock=clock,
        litestream=litestream, sync_interval_ms=round(litestream.sync_interval_s * 1000),
    )  # fmt: skip
    tracker = Tracker(
        folder / "a.db", KEYS, meta=folder, ledger=Ledger(folder, epoch=1, owner="x"),
        fleet=cast("Fleet", fleet), on_news=lambda: None,
    )  # fmt: skip
    # The first look at the whole replica is over: from then on the listings tell.
    files, _ = read_files(cast("ObjectStore", store), KEYS, 1)
    tracker.scout._oldest, store.asked = examine(files).oldest, 0
    tracker.local = Local(txid=2, tail=Tail(size=0, commits=0))
    return tracker


@pytest.mark.parametrize("profile", PROFILES)
def test_a_database_at_rest_costs_two_requests_a_minute_at_most(
    tmp_path: Path, profile: str
) -> None:
    """Litestream's own looks for old files included; the supervisor's lease is not in it."""
    litestream = next(found for name, found in PROFILES.items() if name == profile)
    store, clock = Small(), HandClock()
    tracker = tracker_of(store, clock, tmp_path, litestream)

    async def rest() -> None:
        for second in range(MINUTES * 60):
            clock.ms += 1_000
            if second % 10 == 0:
                tracker._bucket.answered_ms = clock.ms  # the lease is renewed
            tracker.ask_bucket()
            if tracker._asking:
                await tracker._asking
        assert tracker.is_settled

    asyncio.run(rest())

    theirs = MINUTES * 60 / litestream.l0_check_s * 2
    assert MINUTES * 0.5 < store.asked + theirs <= MINUTES * 2
    pace = tracker.account.pace(clock.ms, 2)
    assert pace is not None
    planned = requests_per_day(pace, litestream) / 1440
    assert planned == pytest.approx((store.asked + theirs) / MINUTES, rel=0.1)


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        # at rest: 144 looks for old files, two listings each
        (Pace(transactions=0, requests=2_000), 2_288),
        # a transaction a second: itself, our listing, and every compaction there can be
        (Pace(transactions=86_400, requests=86_400), 86_400 * 2 + 288 + 144 + 3_192 * 4),
        # few: not more compactions than there is to compact
        (Pace(transactions=10, requests=2_000), 2_000 + 10 + 288 + 10 + 30 * 4),
    ],
)
def test_the_sum_of_a_day(pace: Pace, expected: int) -> None:
    assert requests_per_day(pace, LitestreamSettings()) == expected


def test_an_account_speaks_of_the_last_ten_minutes() -> None:
    whole = Meter()
    account = Account(whole)
    assert account.pace(0, 0) is None
    account.sample(0, 1)
    for _ in range(6):
        account.meter.count()

    assert account.pace(1_000, 1) == Pace(transactions=0, requests=6 * 1_440)
    for minute in range(1, 21):
        account.sample(minute * 60_000, 1 + minute)
    assert account.pace(20 * 60_000, 21) == Pace(transactions=1_440, requests=0)
    assert whole.sent == 6


def test_what_is_sent_is_counted_for_whom_it_is_sent() -> None:
    whole = Meter()
    mine, others = Meter(whole), Meter(whole)
    count_request()
    for meter in (mine, mine, others):
        METER.set(meter)
        count_request()
    METER.set(None)

    assert (mine.sent, others.sent, whole.sent) == (2, 1, 3)


def test_a_complaint_of_litestream_is_looked_into_at_once(tmp_path: Path) -> None:
    store, clock = Small(), HandClock()

    async def complain() -> list[int]:
        tracker = tracker_of(store, clock, tmp_path, LitestreamSettings())
        asked = []
        for words in ("", "", "compaction failed: non-contiguous transaction ids", ""):
            clock.ms += 11_000
            tracker._bucket.answered_ms = clock.ms
            tracker.heard(words)
            tracker.ask_bucket()
            if tracker._asking:
                await tracker._asking
            asked.append(store.asked)
        return asked

    assert asyncio.run(complain()) == [1, 1, 2, 2]


def test_a_database_that_never_rests_is_listed_all_the_same(tmp_path: Path) -> None:
    store, clock = Small(), HandClock()

    async def write() -> int:
        tracker = tracker_of(store, clock, tmp_path, LitestreamSettings(sync_interval_s=0.1))
        tracker.scout._probed_ms = clock.ms  # nobody asks whether it may be written at all
        tracker.ask_bucket()
        assert tracker._asking
        await tracker._asking
        for txid in range(3, 103):
            clock.ms += 100
            tracker.saw(txid)
            tracker.ask_bucket()
            await tracker._asking
        return store.asked

    assert asyncio.run(write()) >= 10


def test_what_arrives_counts_from_when_it_was_on_its_way(tmp_path: Path) -> None:
    """Not from the last listing: of a database at rest that was a minute ago."""
    store, clock = Small(), HandClock()
    tracker = tracker_of(store, clock, tmp_path, LitestreamSettings())
    arrives = level0_file(tmp_path, 3)
    arrives.parent.mkdir(parents=True)
    arrives.write_bytes(bytes(80_000))

    async def go_on() -> None:
        await tracker.ask_now()
        clock.ms += 50_000
        tracker.saw(3)
        clock.ms += 2_000
        store.keys.append(f"{KEYS.level(1, 0)}{3:016x}-{3:016x}.ltx")
        store.size = 80_000
        await tracker.ask_now()

    asyncio.run(go_on())

    assert tracker.intrusion is None
    assert tracker.arriving == 40_000
