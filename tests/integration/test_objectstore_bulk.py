"""Thousands of objects at once: the answers are those of the plain store, or its errors."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from obelisk_ops.errors import BucketMissing, S3Unavailable
from obelisk_ops.objectstore import ObjectStore, bulk, open_store
from obelisk_ops.objectstore.meter import METER, Meter
from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.proxy import Proxy

COUNT = 12


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_PAGE", 5)
    monkeypatch.setattr(bulk, "_FEW", 2)


@pytest.fixture(scope="module")
def place(s3: S3) -> ReplicaSettings:
    """COUNT objects below ``a/``, and some beside it."""
    made = s3.replica()
    store = open_store(made)
    for number in range(COUNT):
        store.put(f"{made.prefix}/a/{number:02}", b"%03d" % number * 50)
    store.put(f"{made.prefix}/ab/00", b"beside it")
    store.put(f"{made.prefix}/strange +%/{0:02}", b"strange")
    return made


@pytest.fixture
def quick(place: ReplicaSettings) -> ObjectStore:
    return open_store(place, in_bulk=True)


def keys_of(place: ReplicaSettings) -> list[str]:
    return [f"{place.prefix}/a/{number:02}" for number in range(COUNT)]


def is_used(store: ObjectStore) -> bool:
    return "_bulk" in vars(store)


def test_a_long_listing_is_the_same(place: ReplicaSettings, quick: ObjectStore) -> None:
    plain = open_store(place)
    for prefix, after in (("a/", ""), ("a/", "a/03"), ("", ""), ("a/", "a/10")):
        asked = f"{place.prefix}/{prefix}", f"{place.prefix}/{after}" if after else ""

        found = list(quick.list(asked[0], after=asked[1]))

        assert found == list(plain.list(asked[0], after=asked[1]))
    assert is_used(quick)


def test_the_beginnings_are_the_same_and_what_is_gone_is_left_out(
    place: ReplicaSettings, quick: ObjectStore
) -> None:
    keys = [*keys_of(place), f"{place.prefix}/gone", f"{place.prefix}/strange +%/00"]

    found = quick.beginnings(keys, 10)

    expected = {key: (b"%03d" % number * 4)[:10] for number, key in enumerate(keys_of(place))}
    assert found == expected | {keys[-1]: b"strange"}
    assert found == open_store(place).beginnings(keys, 10)
    assert quick.beginnings([], 10) == {}
    assert is_used(quick)


def test_the_notes_are_the_same_and_what_is_gone_is_left_out(
    place: ReplicaSettings, quick: ObjectStore
) -> None:
    keys = [*keys_of(place), f"{place.prefix}/gone", f"{place.prefix}/strange +%/00"]

    found = quick.notes(keys)

    assert found == {key: {} for key in keys if not key.endswith("gone")}
    assert found == open_store(place).notes(keys)
    assert is_used(quick)


def test_each_request_is_counted_for_whom_it_is_sent(
    place: ReplicaSettings, quick: ObjectStore
) -> None:
    meter = Meter()
    token = METER.set(meter)
    try:
        quick.beginnings(keys_of(place), 10)
        open_store(place).beginnings(keys_of(place), 10)
    finally:
        METER.reset(token)

    assert meter.sent == 2 * COUNT


def test_where_a_proxy_would_be_asked_for_this_machine_it_is_done_without(
    place: ReplicaSettings, quick: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert len(list(quick.list(f"{place.prefix}/a/"))) == COUNT
    assert len(quick.beginnings(keys_of(place), 10)) == COUNT
    assert not is_used(quick)


def test_a_bucket_that_falls_silent_is_an_error_and_soon(
    s3: S3, place: ReplicaSettings
) -> None:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        elsewhere = replace(place, endpoint=line.endpoint)
        store = open_store(elsewhere, in_bulk=True, timeout_s=1.5, attempts=1)
        listed = store.list(f"{place.prefix}/a/")
        first = [next(listed) for _ in range(5)]
        line.set("blackhole")
        began = time.monotonic()

        with pytest.raises(S3Unavailable):
            store.beginnings(keys_of(place), 10)
        with pytest.raises(S3Unavailable):
            list(listed)

        assert len(first) == 5
        assert time.monotonic() - began < 60


def test_no_bucket_is_told_from_no_object(place: ReplicaSettings) -> None:
    store = open_store(replace(place, bucket="no-such-bucket-here"), in_bulk=True)

    with pytest.raises(BucketMissing):
        list(store.list(f"{place.prefix}/a/"))
    with pytest.raises(BucketMissing):
        store.beginnings(keys_of(place), 10)
