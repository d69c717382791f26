"""What the supervisor says while S3 is away, and when its right to write is taken."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.status import Row
from tests.conftest import S3
from tests.faults import Refused
from tests.proxy import Mode, Proxy
from tests.supervised import Plain, Supervised, is_safe
from tests.support import runs, wait_until

pytestmark = pytest.mark.xdist_group("supervise-outage")

#: The promise of the contract.
SEEN_WITHIN_S = 15.0
#: of one commit; Litestream may have taken it up, or not yet
UNPROVEN = r"a: 1 transaction( and \d+ bytes of write-ahead log)? not proven"


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


@pytest.fixture
def supervised(tmp_path: Path, proxy: Proxy, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replace(replica, endpoint=proxy.endpoint)) as running:
        yield running


class Writing:
    """Commits again and again, in a thread, until the block is left."""

    def __init__(self, database: Plain) -> None:
        self._database = database
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.1):
            self._database.write()


@pytest.mark.parametrize(
    ("mode", "why", "outage_s"),
    [
        pytest.param("refuse", "connection refused", 14, id="refused"),
        pytest.param("blackhole", "no answer in 3 s", 12, id="silent"),
        pytest.param(
            "refuse", "connection refused", 60, id="a minute", marks=pytest.mark.chaos
        ),
    ],
)
@pytest.mark.fault(1, 2)
def test_an_outage_is_seen_said_and_survived(
    mode: Mode, why: str, outage_s: float, supervised: Supervised, proxy: Proxy,
    replica: ReplicaSettings,
) -> None:  # fmt: skip
    lease_s = 30 if outage_s > 30 else 120  # far from either, however busy the machine is
    place = replace(replica, endpoint=proxy.endpoint)
    supervised.configure(place, lease={"ttl": f"{lease_s}s"})
    busy = supervised.database("busy")
    supervised.database("idle").write()
    supervised.start()
    supervised.until_safe("idle")

    with Writing(busy):
        supervised.until("busy", lambda row: row.state == "ok", 10, "ok while it writes")
        began = time.monotonic()
        proxy.set(mode)
        supervised.within(SEEN_WITHIN_S, "busy", lambda row: row.state != "ok", "not ok")
        supervised.within(
            SEEN_WITHIN_S - (time.monotonic() - began), "idle",
            lambda row: row.state == "unknown", "not ok either",
        )  # fmt: skip
        row = supervised.until("busy", lambda row: why in row.detail, 6, "says why")
        assert row.detail.startswith("S3 does not answer since ")
        assert supervised.status()[1] == 6
        _wait(began + outage_s)
        assert_lagging(supervised, outage_s, began)
        proxy.set("pass")
    for name in ("busy", "idle"):
        supervised.until(name, is_safe, 45, "caught up without help")

    lapsed = len(supervised.logged("lease_lapsed"))
    assert lapsed == (outage_s > lease_s), "what the lease does not cover is ended"
    started = supervised.logged("litestream_started")
    assert len(started) == 2 + 2 * lapsed, "and nothing else was restarted"
    epochs = {supervised.row(name).epoch for name in ("busy", "idle")}  # type: ignore[union-attr]
    assert epochs == {1}


def assert_lagging(supervised: Supervised, least_s: float, began: float) -> None:
    def has_lagged(row: Row) -> bool:
        return row.state == "lagging" and (row.rpo_seconds or 0) > least_s - 4

    row = supervised.until("busy", has_lagged, 15, "lagging, and for how long")
    assert row.unsent_transactions
    assert row.rpo_seconds is not None
    assert row.rpo_seconds < time.monotonic() - began + 15


@pytest.mark.fault(5)
def test_a_lease_that_cannot_be_renewed_is_never_ok(
    tmp_path: Path, proxy: Proxy, replica: ReplicaSettings
) -> None:
    place = replace(replica, endpoint=proxy.endpoint)
    with Supervised(tmp_path, place, lease={"ttl": "6s"}) as supervised:
        supervised.database("idle").write()
        supervised.start()
        supervised.until_safe("idle")
        with proxy.fault(Refused(503, "SlowDown"), method="PUT", path=r"_obelisk/hosts/"):
            wait_until(lambda: supervised.logged("lease_lapsed"), 15, "its time is over")
            said = "the lease cannot be renewed since "
            row = supervised.until("idle", lambda row: row.detail.startswith(said), 15, "said")
            assert row.state == "unknown"
            wait_until(lambda: not supervised.litestreams, 15, "nothing is written")
            states = {supervised.row("idle").state for _ in range(20)}  # type: ignore[union-attr]
            assert states == {"unknown"}, "an answer to somebody who reads changes nothing"
        supervised.until("idle", is_safe, 30, "it comes back without help")


@pytest.mark.fault(24)
def test_a_stop_without_s3_says_that_it_is_not_proven(
    supervised: Supervised, proxy: Proxy
) -> None:
    database = supervised.database("a")
    supervised.start()
    supervised.until_safe("a")
    proxy.set("refuse")
    database.write()
    supervised.until("a", lambda row: row.unsent_transactions, 5, "something is unsent")

    status, said = supervised.stop()

    assert status == 4
    assert re.fullmatch(f"{UNPROVEN}; S3 does not answer: connection refused\n", said)


@pytest.mark.fault(24)
def test_a_stop_has_a_limit_and_then_says_what_is_unsent(
    tmp_path: Path, proxy: Proxy, replica: ReplicaSettings
) -> None:
    with Supervised(tmp_path, replica) as supervised:
        # The limit is shorter than one request that is not answered.
        place = replace(replica, endpoint=proxy.endpoint)
        supervised.configure(place, stop_timeout="2s")
        database = supervised.database("a")
        supervised.start()
        supervised.until_safe("a")
        child = psutil.Process(supervised.litestreams["a"])
        proxy.set("blackhole")
        database.write()
        supervised.until("a", lambda row: row.unsent_transactions, 5, "something is unsent")

        status, said = supervised.stop()

        assert status == 4
        assert re.fullmatch(f"{UNPROVEN}; the time to stop is over\n", said)
        assert not runs(child)


@pytest.mark.fault(25)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_stops_at_once(
    number: signal.Signals, supervised: Supervised, proxy: Proxy
) -> None:
    database = supervised.database("a")
    supervised.start()
    supervised.until_safe("a")
    child = psutil.Process(supervised.litestreams["a"])
    proxy.set("refuse")
    database.write()
    supervised.until("a", lambda row: row.unsent_transactions, 5, "something is unsent")
    supervised.tell(number)
    wait_until(lambda: supervised.logged("stopping"), 5, "it stops")

    supervised.tell(number)
    status, said = supervised.ended()

    assert status == 4
    assert said.startswith("a: ")
    assert said.endswith(" not proven; stopped at once\n")
    assert not runs(child)


@pytest.mark.fault(6, 9)
def test_keys_that_may_no_longer_write_are_seen(
    tmp_path: Path, embedded_s3: S3Server, s3: S3
) -> None:
    file = tmp_path / "keys"
    pairs = [embedded_s3.identity(name) for name in ("admin", "reader")]
    replica = replace(s3.replica(), credentials=f"file:{file}", endpoint=embedded_s3.endpoint)
    _write_keys(file, pairs[0].access_key, pairs[0].secret_key)
    with Supervised(tmp_path, replica) as supervised:
        database = supervised.database("a")
        supervised.start()
        supervised.until_safe("a")

        _write_keys(file, pairs[1].access_key, pairs[1].secret_key)
        supervised.tell(signal.SIGHUP)
        wait_until(lambda: len(supervised.logged("litestream_started")) == 2, 10, "new keys")
        database.write()
        row = supervised.until("a", _blames_keys, SEEN_WITHIN_S, "blames the keys")
        assert row.unsent_transactions
        assert supervised.status()[1] == 11


@pytest.mark.fault(22)
def test_a_frozen_litestream_is_replaced(supervised: Supervised) -> None:
    database = supervised.database("a")
    supervised.start()
    supervised.until_safe("a")
    pid = supervised.litestreams["a"]

    psutil.Process(pid).suspend()
    database.write()
    supervised.until("a", lambda row: row.state == "lagging", 6, "lagging")
    wait_until(lambda: supervised.litestreams.get("a", pid) != pid, 25, "another process")

    supervised.until_safe("a")


@pytest.mark.fault(23)
def test_a_process_that_keeps_dying_becomes_fatal_and_the_others_live(
    supervised: Supervised,
) -> None:
    supervised.database("a")
    supervised.database("b").write()
    supervised.start()
    supervised.until_safe("b")
    other = supervised.litestreams["b"]

    def is_fatal(row: Row) -> bool:
        pid = supervised.litestreams.get("a")
        if pid:
            psutil.Process(pid).kill()
        return row.state == "fatal"

    row = supervised.until("a", is_fatal, 30, "fatal")

    assert row.detail.startswith("Litestream was killed by SIGKILL; next start in")
    assert supervised.litestreams == {"b": other}
    assert supervised.status()[1] == 1


def _blames_keys(row: Row) -> bool:
    return row.state == "fatal" and row.reason == "credentials" and "denied" in row.detail


def _write_keys(file: Path, access_key: str, secret_key: str) -> None:
    file.touch(mode=0o600)
    file.write_text(
        f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
    )


def _wait(until: float) -> None:
    wait_until(lambda: time.monotonic() >= until, 120, "the outage has lasted")
