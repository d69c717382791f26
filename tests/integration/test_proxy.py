"""The fault proxy does to requests what its faults say, and nothing to the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
from botocore.config import Config

from obelisk_ops.errors import ClockError, CredentialsError, S3Unavailable
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.faults import (
    CutAfter,
    Fault,
    FlippedBit,
    Refused,
    ShortList,
    Skewed,
    Slow,
    SwallowedDelete,
)
from tests.proxy import Proxy


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


@pytest.fixture
def through(replica: ReplicaSettings, proxy: Proxy) -> ObjectStore:
    """The store of `replica`, by way of the proxy, without patience."""
    return open_store(replace(replica, endpoint=proxy.endpoint), timeout_s=2, attempts=1)


@pytest.fixture
def key(replica: ReplicaSettings, store: ObjectStore) -> str:
    """An object of a hundred thousand bytes."""
    name = f"{replica.prefix}/a"
    store.put(name, bytes(100_000))
    return name


def keys(store: ObjectStore, replica: ReplicaSettings) -> list[str]:
    return [info.key.rpartition("/")[2] for info in store.list(f"{replica.prefix}/")]


def test_what_has_no_fault_passes_whole(
    through: ObjectStore, proxy: Proxy, replica: ReplicaSettings
) -> None:
    name, body = f"{replica.prefix}/an odd/näme", bytes(range(256)) * 5_000

    through.put(name, body)

    assert through.get(name).body == body
    assert through.head(name)[0].size == len(body)
    assert [(seen.method, seen.path.endswith(name)) for seen in proxy.seen] == [
        ("PUT", True), ("GET", True), ("HEAD", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Refused(403, "AccessDenied"), CredentialsError),
        (Refused(503, "SlowDown"), S3Unavailable),
        (Refused(403, "RequestTimeTooSkewed"), ClockError),
        (CutAfter(0), S3Unavailable),
        (CutAfter(99_000), S3Unavailable),
        (Slow(latency_s=3), S3Unavailable),
    ],
    ids=str,
)
def test_a_request_fails(
    fault: Fault, error: type[Exception], through: ObjectStore, proxy: Proxy, key: str
) -> None:
    with proxy.fault(fault, method="GET", path="/a$", times=1) as rule:
        with pytest.raises(error):
            through.get(key)
        assert len(through.get(key).body) == 100_000, "it was the first one only"

    assert rule.hits == 1


def test_a_fault_is_done_to_what_it_names(
    through: ObjectStore, proxy: Proxy, key: str, replica: ReplicaSettings
) -> None:
    with proxy.fault(Refused(403, "AccessDenied"), method="PUT", path="/a$"):
        through.put(f"{replica.prefix}/b", b"")
        with pytest.raises(CredentialsError):
            through.put(key, b"")
    through.put(key, b"")


def test_what_was_written_before_the_line_was_cut_is_there(
    through: ObjectStore, store: ObjectStore, proxy: Proxy, key: str
) -> None:
    with proxy.fault(CutAfter(0), method="PUT"), pytest.raises(S3Unavailable):
        through.put(key, b"done, and nobody heard")

    assert store.get(key).body == b"done, and nobody heard"


def test_a_slow_line_has_a_rate(through: ObjectStore, proxy: Proxy, key: str) -> None:
    with proxy.fault(Slow(rate=20_000)), pytest.raises(S3Unavailable):
        through.get(key)
    with proxy.fault(Slow(rate=2_000_000)):
        assert len(through.get(key).body) == 100_000


def test_a_delete_is_swallowed(
    s3: S3, through: ObjectStore, store: ObjectStore, proxy: Proxy, replica: ReplicaSettings
) -> None:
    names = [f"{replica.prefix}/{name}" for name in "abc"]
    for name in names:
        store.put(name, b"")
    client = boto3.client(
        "s3",
        endpoint_url=proxy.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )

    with proxy.fault(SwallowedDelete()):
        through.delete(names[0])
        said = client.delete_objects(
            Bucket=s3.bucket, Delete={"Objects": [{"Key": name} for name in names[1:]]}
        )
    client.close()

    assert [gone["Key"] for gone in said["Deleted"]] == names[1:]
    assert keys(store, replica) == ["a", "b", "c"]
    through.delete(names[0])
    assert keys(store, replica) == ["b", "c"]


def test_a_listing_is_short(
    through: ObjectStore, store: ObjectStore, proxy: Proxy, replica: ReplicaSettings
) -> None:
    for name in "abc":
        store.put(f"{replica.prefix}/{name}", b"")

    with proxy.fault(ShortList(2), times=1):
        assert keys(through, replica) == ["a"]
        assert keys(through, replica) == ["a", "b", "c"]


def test_the_clock_of_the_server_is_off(through: ObjectStore, proxy: Proxy) -> None:
    true_ms = through.server_time_ms()
    with proxy.fault(Skewed(3600)):
        assert abs(through.server_time_ms() - true_ms - 3_600_000) < 5_000


def test_a_bit_is_flipped_on_its_way(through: ObjectStore, proxy: Proxy, key: str) -> None:
    with proxy.fault(FlippedBit(-1)):
        body = through.get(key).body

    assert (body[:-1], body[-1]) == (bytes(99_999), 1)
