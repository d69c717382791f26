"""The small parts around the decisions: notes, locks, log lines, the view of a bucket."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from obelisk_ops.errors import (
    BucketMissing,
    CredentialsError,
    ObjectNotFound,
    OpsError,
    S3Unavailable,
)
from obelisk_ops.litestream.local import Tail, level0_file, level0_folder
from obelisk_ops.objectstore import ObjectInfo, ObjectStore
from obelisk_ops.replica.layout import ReplicaKeys, epoch_of_marker
from obelisk_ops.settings import LitestreamSettings, remember
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.farewell import Farewell, take_leave
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Health, Problem, State
from obelisk_ops.supervise.keeper import Keeper
from obelisk_ops.supervise.ledger import Ledger
from obelisk_ops.supervise.log import json_log
from obelisk_ops.supervise.ownership import Owner
from obelisk_ops.supervise.position import Local, Remote, read_remote
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.tracker import Tracker

DOUBT = Problem(code="verification_failed", text="it may differ", since_ms=0)

KEYS = ReplicaKeys(prefix="p/q", name="db")


#: How a file of level 0 begins; those of these tests end there, too.
HEAD = struct.Struct(">4s12xQQq8xqqII")


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def elapsed_ms(self) -> int:
        return self.ms


class Listing:
    """Only the listing of a store, over keys in memory; remembers what was asked."""

    def __init__(self, *names: str) -> None:
        self.keys = [f"{KEYS.epoch(1)}{name}.ltx" for name in names]
        self.asked: list[str] = []

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.asked.append(prefix)
        for key in sorted(self.keys):
            if key.startswith(prefix) and key > after:
                yield ObjectInfo(key=key, size=HEAD.size, modified_ms=5, etag="")


def ltx(level: int, first: int, last: int) -> str:
    return f"{level:04x}/{first:016x}-{last:016x}"


def test_keys_are_those_of_the_contract() -> None:
    assert KEYS.marker(1) == "p/q/db/_obelisk/e0001.json"
    assert KEYS.level(12, 9) == "p/q/db/e0012/0009/"
    assert ReplicaKeys(prefix="", name="db").root == "db/"
    assert epoch_of_marker(KEYS.marker(12_345)) == 12_345
    assert epoch_of_marker(f"{KEYS.markers}probe") is None


@pytest.mark.parametrize(
    ("names", "known", "txid", "requests"),
    [
        pytest.param([], Remote(), 0, 2, id="empty"),
        pytest.param([ltx(0, 1, 1), ltx(0, 2, 2)], Remote(), 2, 1, id="raw files"),
        pytest.param([ltx(0, 2, 2)], Remote(txid=2, min_txid=2), 2, 1, id="idle: one request"),
        pytest.param(
            [ltx(0, 3, 3)], Remote(txid=2, min_txid=2), 3, 1, id="the known one is gone"
        ),
        pytest.param([ltx(1, 1, 9)], Remote(txid=9, min_txid=9), 9, 12, id="compacted away"),
        pytest.param(
            [ltx(1, 1, 9)], Remote(txid=9, min_txid=1, level=1), 9, 2, id="idle since then"
        ),
        pytest.param([ltx(9, 1, 4)], Remote(txid=9, min_txid=9), 4, 12, id="transactions lost"),
    ],
)
def test_newest_file_of_an_epoch(
    names: list[str], known: Remote, txid: int, requests: int
) -> None:
    store = Listing(*names)

    remote = read_remote(cast("ObjectStore", store), KEYS, 1, known)

    assert remote.txid == txid
    assert len(store.asked) == requests


def tracker_of(store: Listing, meta: Path) -> Tracker:
    clock = HandClock()
    bucket = Bucket(lambda: cast("ObjectStore", store), clock)
    fleet = SimpleNamespace(
        bucket=bucket, clock=clock, sync_interval_ms=1_000, litestream=LitestreamSettings()
    )
    return Tracker(
        meta / "a.db",
        KEYS,
        meta=meta,
        ledger=Ledger(meta, epoch=1, owner="x"),
        fleet=cast("Fleet", fleet),
        on_news=lambda: None,
    )


def keep(meta: Path, *txids: int) -> None:
    """Make files of level 0 that Litestream would have kept here."""
    folder = level0_folder(meta)
    folder.mkdir(parents=True, exist_ok=True)
    for txid in txids:
        head = HEAD.pack(b"LTX1", txid, txid, 5, 32, 0, 1, 2)
        level0_file(meta, txid).write_bytes(head)


@pytest.mark.parametrize(
    ("local_txid", "replica_txid", "tail", "is_settled"),
    [
        pytest.param(7, 7, 0, True, id="the same"),
        pytest.param(7, 7, 1_048, False, id="a commit behind it"),
        pytest.param(8, 7, 0, False, id="something unsent"),
        pytest.param(1, 7, 0, False, id="the bucket has another history"),
        pytest.param(0, 0, 0, False, id="nothing read yet"),
    ],
)
def test_only_what_is_equal_is_settled(
    local_txid: int, replica_txid: int, tail: int, *, is_settled: bool, tmp_path: Path
) -> None:
    tracker = tracker_of(Listing(), tmp_path)
    tracker.local = Local(txid=local_txid, tail=Tail(size=tail, commits=1))
    tracker.remote = Remote(txid=replica_txid)

    assert tracker.is_settled is is_settled


def test_what_is_shipped_between_two_looks_is_not_taken_for_another_history(
    tmp_path: Path,
) -> None:
    keep(tmp_path, 1)
    tracker = tracker_of(Listing(ltx(0, 1, 1), ltx(0, 2, 2)), tmp_path)
    tracker.saw(1)
    keep(tmp_path, 2)

    asyncio.run(tracker.ask_now())
    after_the_listing = tracker.local
    tracker.saw(1)  # said before the listing was answered

    assert after_the_listing == tracker.local == Local(txid=2, at_ms=5)


def test_what_this_disk_never_had_was_written_by_somebody_else(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    store = Listing(ltx(0, 1, 1))
    tracker = tracker_of(store, tmp_path)
    tracker.saw(1)
    asyncio.run(tracker.ask_now())
    store.keys += Listing(ltx(0, 2, 2)).keys

    asyncio.run(tracker.ask_now())

    assert tracker.intrusion is not None
    assert (tracker.intrusion.epoch, tracker.intrusion.first) == (1, 2)
    assert tracker.ledger.acknowledged.txid == 1, "what others write is no proof of ours"
    words = ("another program wrote into e0001, which can be trusted up to transaction 1",)
    assert tracker.ledger.words_of_intrusions(tracker.intrusion.at_ms) == words


@pytest.mark.parametrize(
    ("shipped", "doubt", "exit_status", "detail"),
    [
        pytest.param([1], None, 0, "everything up to transaction 1 is in the bucket", id="all"),
        pytest.param([], None, 5, "1 transaction unsent", id="none"),
        pytest.param(
            [1, 2], None, 4,
            "another program wrote into e0001, which can be trusted up to transaction 1",
            id="another history",
        ),
        pytest.param([1], DOUBT, 4, "it may differ", id="all, and not to be trusted"),
    ],
)  # fmt: skip
def test_a_farewell_tells_what_is_left_behind(
    shipped: list[int], doubt: Problem | None, exit_status: int, detail: str, tmp_path: Path
) -> None:
    keep(tmp_path, 1)
    wal = struct.pack(">IIIIIIII", 0x377F0682, 3_007_000, 1_024, 0, 1, 2, 0, 0)
    (tmp_path / "a.db-wal").write_bytes(wal)
    tracker = tracker_of(Listing(*(ltx(0, txid, txid) for txid in shipped)), tmp_path)
    health = Health(state=State.OK)
    doubts = SimpleNamespace(settle=settled, problem=lambda: doubt)
    keeper = SimpleNamespace(
        name="a", process=None, tracker=tracker, verdict=lambda: health, doubts=doubts
    )
    bucket = SimpleNamespace(is_ready=lambda: True)
    fleet = cast("Fleet", SimpleNamespace(bucket=bucket))

    async def leave() -> dict[str, Farewell]:
        keepers = [cast("Keeper", keeper)]
        return await take_leave(keepers, [], fleet, hurry=asyncio.Event(), within_s=5)

    left = asyncio.run(leave())["a"]

    assert (left.exit_status, left.detail) == (exit_status, detail)


async def settled() -> None:
    """Stand for a look that found nothing."""


def test_a_doubt_is_noted_once_and_stays(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "a.db")
    sidecar.folder.mkdir()
    assert sidecar.suspect() is None

    sidecar.write_suspect(7)
    sidecar.write_suspect(9)  # nothing that came later is to be trusted either

    assert sidecar.suspect() == b"trusted 7"
    sidecar.clear_suspect()
    sidecar.clear_suspect()
    assert sidecar.suspect() is None


def test_the_note_survives_and_is_private(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "a.db")
    owner = Owner(name="a", host="h", inode=1, epoch=2, owner="x", database_id="d")

    sidecar.write_owner(owner)

    note = tmp_path / ".a.db-obelisk" / "owner.json"
    assert sidecar.owner() == owner
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert stat.S_IMODE(note.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in note.parent.iterdir()) == ["opened.json", "owner.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 1}', b"\xff"])
def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path, content: bytes) -> None:
    sidecar = Sidecar(tmp_path / "a.db")
    sidecar.folder.mkdir()
    (sidecar.folder / "owner.json").write_bytes(content)

    assert sidecar.owner() is None
    assert sidecar.restored() is None


def test_a_secret_does_not_reach_the_log() -> None:
    stream = io.StringIO()
    log = json_log(stream)
    remember("s3cr3t-key")  # also one that is read later, when it has replaced another
    remember("")

    log.warning("litestream_says", line="SignatureDoesNotMatch for s3cr3t-key", pid=3)
    log.warning("x", nested={"list": ["s3cr3t-key"]})

    line, nested = stream.getvalue().splitlines()
    assert "s3cr3t-key" not in nested
    written = json.loads(line)
    assert written["line"] == "SignatureDoesNotMatch for [redacted]"
    assert (written["event"], written["level"], written["pid"]) == (
        "litestream_says",
        "warning",
        3,
    )


def ask(bucket: Bucket, answer: Callable[[], object], *, is_write: bool = False) -> None:
    def request(_store: ObjectStore) -> object:
        return answer()

    async def call() -> None:
        await bucket.call(request, is_write=is_write)

    asyncio.run(call())


def failing(error: OpsError) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


def opened(clock: HandClock) -> Bucket:
    return Bucket(lambda: cast("ObjectStore", object()), clock)


def test_an_outage_is_timed_from_its_first_failure() -> None:
    clock = HandClock()
    bucket = opened(clock)

    for _ in range(2):
        with pytest.raises(S3Unavailable):
            ask(bucket, failing(S3Unavailable("http://s3 does not answer (X)")))
        clock.ms += 5_000

    problem = bucket.problem
    assert problem is not None
    assert (problem.code, problem.since_ms) == ("s3_unavailable", 1_000_000)
    assert bucket.answered_ms is None


def test_an_answer_ends_an_outage() -> None:
    clock = HandClock()
    bucket = opened(clock)
    with pytest.raises(S3Unavailable):
        ask(bucket, failing(S3Unavailable("http://s3 does not answer (X)")))

    ask(bucket, lambda: 1)

    assert bucket.problem is None
    assert bucket.answered_ms == clock.ms


def test_while_it_is_down_it_is_asked_once_a_second() -> None:
    clock = HandClock()
    bucket = opened(clock)
    assert bucket.is_ready()
    with pytest.raises(BucketMissing):
        ask(bucket, failing(BucketMissing("no bucket")))

    assert not bucket.is_ready()

    clock.ms += 1_000

    assert bucket.is_ready()


def test_an_answer_about_one_object_is_an_answer() -> None:
    bucket = opened(HandClock())

    with pytest.raises(ObjectNotFound):
        ask(bucket, failing(ObjectNotFound("no such key")))

    assert bucket.problem is None
    assert bucket.answered_ms is not None


def test_keys_that_may_only_read_are_not_the_buckets_problem() -> None:
    bucket = opened(HandClock())

    with pytest.raises(CredentialsError):
        ask(bucket, failing(CredentialsError("denied")), is_write=True)

    assert bucket.problem is None


def test_keys_that_may_not_read_are() -> None:
    bucket = opened(HandClock())

    with pytest.raises(CredentialsError):
        ask(bucket, failing(CredentialsError("denied")))

    assert bucket.problem is not None
