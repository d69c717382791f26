"""The metrics of a real supervisor, as Prometheus reads them."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from obelisk_ops.monitor.catalogue import METRICS
from obelisk_ops.monitor.exposition import Snapshot, render
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.companion import Facts
from obelisk_ops.supervise.status import Row, Window
from tests.conftest import S3
from tests.proxy import Proxy
from tests.supervised import Supervised
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("metrics")

FACTS = Facts(
    litestream="0.5.17",
    started_ms=1_000,
    requests=7,
    bucket_problem="",
    answered_ms=2_500,
    lease_until_ms=33_000,
    skew_ms=-61_000,
    deletes=False,
)
Samples = dict[tuple[str, tuple[str, ...]], float]


def parsed(text: str) -> Samples:
    """Return every sample by name and label values."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def full_row(path: Path) -> Row:
    return Row(
        name="a", path=str(path), state="lagging", rpo_seconds=2.5, unsent_transactions=3,
        unsent_bytes=4_096, local_txid=9, replica_txid=6, epoch=2, requests_per_day=100,
        proven_at="1970-01-01T00:00:02.500Z",
        restorable=Window(oldest="1970-01-01T00:00:01.000Z", newest="1970-01-01T00:00:02.000Z"),
        last_drill={
            "at": "1970-01-01T00:00:02.000Z", "outcome": "inconclusive",
            "good_at": "1970-01-01T00:00:01.000Z",
        },
    )  # fmt: skip


# -- the text ----------------------------------------------------------------------------


def test_every_metric_is_published_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.db-wal").write_bytes(b"x" * 100)
    snapshot = Snapshot(
        rows=[full_row(tmp_path / "a.db")],
        facts=FACTS,
        starts=2,
        warnings={"litestream_ended": 1, "state": 4},
    )

    body, kind = render(snapshot)

    text = body.decode()
    assert kind.startswith("text/plain; version=")
    told = parsed(text)
    assert {name for name, _ in told} == {metric.full_name for metric in METRICS}
    assert told["obelisk_ops_database_state", ("a", "lagging")] == 1
    assert told["obelisk_ops_database_state", ("a", "ok")] == 0
    assert told["obelisk_ops_database_rpo_seconds", ("a",)] == 2.5
    assert told["obelisk_ops_database_wal_bytes", ("a",)] == 100
    assert told["obelisk_ops_database_proof_timestamp_seconds", ("a",)] == 2.5
    assert told["obelisk_ops_clock_skew_seconds", ()] == -61
    assert told["obelisk_ops_retention_enabled", ()] == 0
    assert told["obelisk_ops_litestream_crashes_total", ()] == 1
    assert told["obelisk_ops_warnings_total", ("state",)] == 4
    for metric in METRICS:
        assert f"# TYPE {metric.full_name} {metric.kind}\n" in text
        assert f"# HELP {metric.full_name} {metric.help}\n" in text


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    row = Row(name="a", path=str(tmp_path / "a.db"), state="unknown")
    facts = replace(
        FACTS,
        answered_ms=None,
        bucket_problem="s3_unavailable",
        lease_until_ms=None,
        skew_ms=None,
    )

    told = parsed(render(Snapshot(rows=[row], facts=facts))[0].decode())

    names = {name for name, _ in told}
    assert {name for name in names if "database_" in name} == {"obelisk_ops_database_state"}
    assert told["obelisk_ops_bucket_up", ()] == 0
    assert "obelisk_ops_bucket_answer_timestamp_seconds" not in names
    assert "obelisk_ops_clock_skew_seconds" not in names


def test_it_is_also_told_as_openmetrics(tmp_path: Path) -> None:
    snapshot = Snapshot(rows=[full_row(tmp_path / "a.db")], facts=FACTS, starts=2)

    body, kind = render(snapshot, "application/openmetrics-text; version=1.0.0")

    assert kind.startswith("application/openmetrics-text")
    parse: Any = openmetrics.text_string_to_metric_families
    families = {family.name for family in parse(body.decode())}
    assert "obelisk_ops_litestream_starts" in families


def test_a_thousand_databases_are_told_in_a_moment(tmp_path: Path) -> None:
    rows = [replace(full_row(tmp_path / "a.db"), name=f"db-{n}") for n in range(1_000)]
    began = time.process_time()

    body, _ = render(Snapshot(rows=rows, facts=FACTS))

    assert len(body) > 500_000
    assert time.process_time() - began < 2


# -- the port ----------------------------------------------------------------------------


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


@pytest.fixture
def supervised(tmp_path: Path, proxy: Proxy, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replace(replica, endpoint=proxy.endpoint)) as running:
        add(running.config, {"metrics": {"listen": "127.0.0.1:0"}})
        yield running


def add(config: Path, more: dict[str, object]) -> None:
    """Add to a configuration."""
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | more))


def port_of(supervised: Supervised) -> int:
    wait_until(lambda: supervised.logged("metrics"), 10, "it listens")
    return int(supervised.logged("metrics")[-1]["port"])


def ask(
    port: int, method: str = "GET", path: str = "/metrics", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_scrape_tells_what_status_tells_and_asks_nobody(
    supervised: Supervised, proxy: Proxy
) -> None:
    supervised.database("a").write()
    supervised.start()
    row = supervised.until_safe("a")
    port = port_of(supervised)

    before = len(proxy.seen)
    status, text = [ask(port) for _ in range(50)][-1]
    assert len(proxy.seen) - before < 50, "only what the supervisor does anyway"

    told = parsed(text)
    assert status == 200
    assert told["obelisk_ops_database_state", ("a", "ok")] == 1
    assert told["obelisk_ops_database_replica_txid", ("a",)] == row.replica_txid
    assert told["obelisk_ops_bucket_up", ()] == 1
    assert told["obelisk_ops_litestream_starts_total", ()] == 1
    assert told["obelisk_ops_lease_deadline_timestamp_seconds", ()] > time.time()
    assert 0 <= time.time() - told["obelisk_ops_database_proof_timestamp_seconds", ("a",)] < 120
    assert ask(port, Host="evil.example")[0] == 421
    assert ask(port, path="/debug/pprof/")[0] == 404
    assert ask(port, method="HEAD") == (200, "")


def test_a_port_that_is_taken_stops_no_backup(supervised: Supervised) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        add(supervised.config, {"metrics": {"listen": f"127.0.0.1:{port}"}})
        supervised.database("a").write()
        supervised.start()
        supervised.until_safe("a")
        assert supervised.logged("metrics")[0]["level"] == "warning"

    wait_until(lambda: len(supervised.logged("metrics")) == 2, 10, "it listens in the end")
    assert ask(port)[0] == 200
