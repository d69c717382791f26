"""Restores when the bucket or the disk fails: a complete copy, or nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Latest, Txid
from obelisk_ops.errors import (
    DamagedObject,
    ObjectNotFound,
    OpsError,
    ReplicaGap,
    S3Unavailable,
    StorageUnavailable,
    TargetExists,
)
from obelisk_ops.objectstore import Fetched, ObjectInfo, ObjectStore
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.restore import aside, service
from obelisk_ops.restore.service import Plan, Source, make_plan, restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.restore.target import FETCHED, workspace
from tests.conftest import S3
from tests.faults import CutAfter, Slow
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase

CLOCK = SystemClock()


def quiet(_written: int, _expected: int) -> None:
    return None


def restored(source: Source, target: Path, wish: Latest | Txid | None = None) -> int:
    """Restore and return the number of rows that came back."""
    restore(source, wish or Latest(), target, clock=CLOCK, progress=quiet)
    connection = apsw.Connection(str(target))
    (rows,) = next(connection.execute("SELECT count(*) FROM t"))
    connection.close()
    return int(rows)


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder that copies go to."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def database(s3: S3, tmp_path: Path) -> ReplicatedDatabase:
    """Four restore points of five rows each."""
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    for _ in range(4):
        made.fill(5)
        made.ship()
    made.close()
    return made


@pytest.fixture
def source(database: ReplicatedDatabase) -> Source:
    return open_source(database.place, "run")


def flip(at: int) -> Callable[[bytes], bytes]:
    def flipped(body: bytes) -> bytes:
        place = at % len(body)
        return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]

    return flipped


DAMAGE = [
    # what                  change
    ("magic",               flip(0)),
    ("last transaction",    flip(30)),
    ("first page",          flip(150)),
    ("middle",              flip(900)),
    ("trailer",             flip(-3)),
    ("cut short",           lambda body: body[: len(body) // 2]),
    ("only a header",       lambda body: body[:100]),
    ("nearly nothing",      lambda body: body[:50]),
    ("empty",               lambda _: b""),
]  # fmt: skip


@pytest.mark.fault(12, 13)
def test_a_damaged_object_is_named_and_nothing_is_left(
    database: ReplicatedDatabase, source: Source, out: Path
) -> None:
    key = database.ltx(0, 3, 3)
    sound = database.store.get(key).body

    for what, change in DAMAGE:
        database.store.put(key, change(sound))

        with pytest.raises(DamagedObject) as refusal:
            restored(source, out / "copy.db")

        assert key in refusal.value.message, what
        assert refusal.value.hint == "restorable without it: --at e0001/txid:2", what
        assert left_in(out) == [], what
    assert restored(source, out / "earlier.db", Txid(2)) == 10, "what does not need it works"
    database.store.put(key, sound)
    assert restored(source, out / "copy.db") == 20


@pytest.mark.fault(12)
def test_damage_in_an_object_that_is_not_needed(s3: S3, tmp_path: Path, out: Path) -> None:
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    for flags in ([], ["-force-snapshot"]):
        made.fill(5)
        made.ship(*flags)
    made.close()
    for txid in (1, 2):
        made.store.put(made.ltx(0, txid, txid), b"damaged" * 40)

    assert restored(open_source(made.place, "run"), out / "copy.db") == 10


@pytest.mark.fault(14)
def test_a_lost_object_is_a_gap_and_never_an_older_state(
    database: ReplicatedDatabase, source: Source, out: Path
) -> None:
    database.store.delete(database.ltx(0, 3, 3))

    for wish in (Latest(), Txid(3), Txid(4)):
        with pytest.raises(ReplicaGap) as refusal:
            restored(source, out / "copy.db", wish)
        assert "e0001/txid:2" in refusal.value.hint
    assert left_in(out) == []
    assert restored(source, out / "copy.db", Txid(2)) == 10


class Retention:
    """A store behind which objects are deleted as soon as a plan was made."""

    def __init__(self, store: ObjectStore, doomed: list[str]) -> None:
        self._store = store
        self._doomed = doomed

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        fetched = self._store.get(key, first=first, last=last)
        if key in self._doomed:
            self._doomed.remove(key)
            self._store.delete(key)
        return fetched

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after=after)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._store.folders(prefix)


@pytest.mark.fault(36)
def test_retention_in_the_middle_of_a_restore(s3: S3, tmp_path: Path, out: Path) -> None:
    made = ReplicatedDatabase(tmp_path / "src", s3.replica())
    made.fill(5)
    made.ship()
    made.fill(5)
    made.ship("-force-snapshot")
    made.close()
    source = open_source(made.place, "run")
    snapshot = made.ltx(9, 1, 2)
    assert [file.key for file in make_plan(source, Latest(), CLOCK).files] == [snapshot]
    racing = Retention(source.store, [snapshot])

    rows = restored(replace(source, store=racing), out / "copy.db")  # type: ignore[arg-type]

    assert rows == 10, "the same state, by the files that are left"
    with pytest.raises(ObjectNotFound):
        source.store.head(snapshot)


def test_the_target_appears_meanwhile(source: Source, out: Path) -> None:
    target = out / "copy.db"

    def appear(_written: int, _expected: int) -> None:
        target.write_bytes(b"precious")

    class Late(SystemClock):
        def now_ms(self) -> int:
            if any(entry.name.startswith(".copy.db.restoring") for entry in out.iterdir()):
                appear(0, 0)
            return super().now_ms()

    with pytest.raises(TargetExists):
        restore(source, Latest(), target, clock=Late(), progress=appear)

    assert target.read_bytes() == b"precious"
    assert left_in(out) == ["copy.db"]


@pytest.mark.parametrize("call", ["link", "fsync", "flock"])
@pytest.mark.fault(28)
def test_a_disk_that_refuses_leaves_nothing(
    source: Source, out: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each call of its kind fails once, until a run gets through without meeting one."""
    module = fcntl if call == "flock" else os
    real = getattr(module, call)
    refusals = 0
    for fatal in range(1, 20):
        calls = 0

        def refuse(*arguments: Any, fatal: int = fatal) -> Any:
            nonlocal calls
            calls += 1
            if calls == fatal:
                raise OSError(errno.EIO, "Input/output error")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(module, call, refuse)
            try:
                restored(source, out / "copy.db")
            except StorageUnavailable as error:
                refused = error
            else:
                break
        refusals += 1
        assert "Input/output error" in refused.message
        assert left_in(out) == [], f"{call} number {fatal}"
    assert refusals > 0
    assert left_in(out) == [".copy.db-obelisk", "copy.db"]


@pytest.mark.fault(9)
def test_who_may_only_read_can_restore(
    embedded_s3: S3Server, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ReplicatedDatabase(tmp_path / "src", embedded_s3.replica("readers"))
    made.fill(5)
    made.ship()
    made.close()
    reader = embedded_s3.identity("reader")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", reader.secret_key)

    rows = restored(open_source(replace(made.place, credentials="env"), "run"), out / "copy.db")

    assert rows == 5


@pytest.mark.fault(27)
def test_too_little_space_is_seen_before_anything_is_written(source: Source, out: Path) -> None:
    plan = make_plan(source, Latest(), CLOCK)
    huge: Plan = replace(plan, database_bytes=1 << 60)

    with pytest.raises(StorageUnavailable, match="bytes free"):
        service.check_space(huge, out / "copy.db")


@pytest.mark.fault(27)
def test_what_a_killed_restore_has_written_is_room(
    source: Source, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, usage = out / ".copy.db.restoring-killed", shutil.disk_usage
    left.mkdir()
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: usage(path)._replace(free=0 if left.exists() else 1 << 40),
    )

    assert restored(source, out / "copy.db") == 20


def test_what_somebody_else_has_fetched_is_not_believed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, me = out / ".copy.db.restoring-killed" / FETCHED, os.geteuid()
    for owner, is_taken in ((me, True), (me + 1, False)):
        left.mkdir(parents=True)
        monkeypatch.setattr(os, "geteuid", lambda owner=owner: owner)
        with workspace(out / "copy.db") as folder:
            assert (folder / FETCHED).exists() is is_taken
        assert left_in(out) == []


def test_a_bucket_that_falls_silent_is_given_up(
    database: ReplicatedDatabase, s3: S3, out: Path
) -> None:
    """Listed through one address, restored through another that answers nothing."""
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy:
        place = replace(database.place, endpoint=proxy.endpoint)
        source = open_source(place, "run")
        plan = make_plan(source, Latest(), CLOCK)
        proxy.set("blackhole")
        job = replace(service._job(source, plan), stall_s=1.0)
        began = time.monotonic()

        with pytest.raises(S3Unavailable, match="wrote nothing"):
            aside.run(job, out, lambda _: None)

        assert time.monotonic() - began < 25


@pytest.mark.fault(4)
def test_a_line_that_is_reset_in_the_middle_of_an_object(
    database: ReplicatedDatabase, s3: S3, out: Path
) -> None:
    """Each object comes half: nothing is left but one error; over a sound line it works."""
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy:
        source = open_source(replace(database.place, endpoint=proxy.endpoint), "run")
        plan = make_plan(source, Latest(), CLOCK)
        job = replace(service._job(source, plan), stall_s=1.0)
        with (
            proxy.fault(CutAfter(50), method="GET", path=r"\.ltx$") as cut,
            pytest.raises(S3Unavailable),
        ):
            restore_aside(job, out)
        assert cut.hits > 0
        assert left_in(out) == []

        assert restored(source, out / "copy.db") == 20


@pytest.mark.fault(3)
def test_a_slow_line_is_waited_for_while_anything_comes(
    s3: S3, tmp_path: Path, out: Path
) -> None:
    """It takes longer than silence is borne, and shows how far it is; what is too slow ends."""
    made = ReplicatedDatabase(tmp_path / "large", s3.replica())
    made.fill(6_000)
    made.ship()
    made.close()
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy:
        source = open_source(replace(made.place, endpoint=proxy.endpoint), "run")
        plan = make_plan(source, Latest(), CLOCK)
        job = replace(service._job(source, plan), stall_s=2.0)
        shown: list[int] = []
        began_s = time.monotonic()
        with (
            proxy.fault(
                Slow(latency_s=0.05, rate=150_000), method="GET", path=r"\.ltx$"
            ) as slow,
            workspace(out / "copy.db") as folder,
        ):
            copy = aside.run(job, folder, shown.append)
            assert copy.stat().st_size == plan.database_bytes
        assert slow.hits > 0
        assert time.monotonic() - began_s > job.stall_s
        assert shown == sorted(shown)
        assert len(set(shown)) > 3, "it goes on before one's eyes"

        began_s = time.monotonic()
        with (
            proxy.fault(Slow(rate=100), method="GET", path=r"\.ltx$"),
            pytest.raises(S3Unavailable, match="wrote nothing for 2 s"),
        ):
            restore_aside(job, out)
        assert time.monotonic() - began_s < 30
        assert left_in(out) == []


def restore_aside(job: Any, out: Path) -> None:
    with workspace(out / "copy.db") as folder:
        aside.run(job, folder, lambda _: None)


def test_two_restores_to_one_target(source: Source, out: Path) -> None:
    """One gets it; the other is refused and does not disturb the first one's work."""
    outcomes: list[str] = []

    def nested(_written: int, _expected: int) -> None:
        if not outcomes:
            outcomes.append("busy")

    with workspace(out / "copy.db") as first:
        (first / "at-work").touch()
        assert restored(source, out / "copy.db") == 20
        assert (first / "at-work").exists()
    with pytest.raises(OpsError):
        restore(source, Latest(), out / "copy.db", clock=CLOCK, progress=nested)
    assert left_in(out) == [".copy.db-obelisk", "copy.db"]
    assert os.stat(out / "copy.db").st_nlink == 1  # noqa: PTH116
