"""The object store against a real S3 server: the port's promises, and what faults look like."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from obelisk_ops.errors import (
    BucketMissing,
    CredentialsError,
    DamagedObject,
    ObjectNotFound,
    PreconditionFailed,
    S3Unavailable,
)
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.proxy import Mode, Proxy
from tests.support import wait_until


def test_what_was_put_is_got_and_listed_and_gone_when_deleted(
    store: ObjectStore, replica: ReplicaSettings
) -> None:
    key = f"{replica.prefix}/a/1"

    etag = store.put(key, b"hello")

    fetched = store.get(key)
    assert fetched.body == b"hello"
    assert fetched.info == store.head(key)[0] == next(store.list(f"{replica.prefix}/"))
    assert fetched.info.etag == etag
    assert fetched.info.size == 5
    store.delete(key)
    store.delete(key)
    assert list(store.list(f"{replica.prefix}/")) == []
    for missing in (store.get, store.head):
        with pytest.raises(ObjectNotFound, match="a/1"):
            missing(key)


def test_a_look_tells_what_get_and_head_tell(
    store: ObjectStore, replica: ReplicaSettings
) -> None:
    key = f"{replica.prefix}/a b+c=d~e"
    assert not store.is_there(key)
    with pytest.raises(ObjectNotFound, match="a b"):
        store.look(key)

    store.put(key, b"hello")

    assert store.is_there(key)
    assert (store.look(key).body, store.look(key).info) == (b"hello", store.get(key).info)


def test_a_range_includes_both_ends_and_a_short_object_is_damage(
    store: ObjectStore, replica: ReplicaSettings
) -> None:
    key = f"{replica.prefix}/a"
    store.put(key, b"0123456789")

    middle = store.get(key, first=2, last=4)

    assert middle.body == b"234"
    assert middle.info.size == 10
    assert store.get(key, last=1).body == b"01"
    assert store.get(key, first=8, last=99).body == b"89"
    with pytest.raises(DamagedObject):
        store.get(key, first=10)


def test_only_the_first_of_two_writers_creates_an_object(
    store: ObjectStore, replica: ReplicaSettings
) -> None:
    key = f"{replica.prefix}/claim"
    store.put(key, b"first", if_absent=True)

    with pytest.raises(PreconditionFailed, match="another writer"):
        store.put(key, b"second", if_absent=True)

    assert store.get(key).body == b"first"


def test_a_write_on_an_old_etag_is_refused(
    store: ObjectStore, replica: ReplicaSettings
) -> None:
    key = f"{replica.prefix}/lease"
    old = store.put(key, b"1")
    new = store.put(key, b"2", if_match=old)

    with pytest.raises(PreconditionFailed):
        store.put(key, b"3", if_match=old)
    with pytest.raises(PreconditionFailed):
        store.put(f"{replica.prefix}/absent", b"3", if_match=new)

    assert store.put(key, b"3", if_match=store.head(key)[0].etag)


def test_of_many_writers_at_once_one_wins(store: ObjectStore, replica: ReplicaSettings) -> None:
    start = threading.Barrier(3)  # SeaweedFS lets a waiting writer wait for 1 s

    def write(key: str, etag: str | None, body: bytes) -> bytes | None:
        start.wait()
        with contextlib.suppress(PreconditionFailed):
            store.put(key, body, if_absent=etag is None, if_match=etag)
            return body
        return None

    key, etag = f"{replica.prefix}/claim", None
    with ThreadPoolExecutor(3) as pool:
        for turn in range(5):
            # Bodies that differ in every turn: equal bytes would have the ETag of before.
            bodies = [b"%d by %d" % (turn, writer) for writer in range(3)]
            race = functools.partial(write, key, etag)
            winners = [body for body in pool.map(race, bodies) if body is not None]

            assert winners == [store.get(key).body]
            etag = store.head(key)[0].etag


def test_a_listing_goes_on_over_pages_in_order_and_after_a_key(
    store: ObjectStore, replica: ReplicaSettings
) -> None:
    keys = [f"{replica.prefix}/{number:04x}" for number in range(40)]
    for key in reversed(keys):
        store.put(key, b"")

    listed = [info.key for info in store.list(f"{replica.prefix}/")]

    assert listed == keys
    assert [i.key for i in store.list(f"{replica.prefix}/", after=keys[36])] == keys[37:]
    store.put(f"{replica.prefix}/deep/er/x", b"")
    assert list(store.folders(f"{replica.prefix}/")) == ["deep"]


def test_the_store_tells_its_time(store: ObjectStore) -> None:
    assert abs(store.server_time_ms() - time.time() * 1000) < 2_500


def test_a_missing_bucket_is_named(s3: S3) -> None:
    replica = dataclasses.replace(s3.replica(), bucket="there-is-none")

    for attempt in (
        lambda: open_store(replica).put("a", b""),
        lambda: list(open_store(replica).list("")),
        lambda: open_store(replica).get("a"),
        lambda: open_store(replica).look("a"),
    ):
        with pytest.raises(BucketMissing, match="there-is-none"):
            attempt()


@pytest.mark.parametrize(
    ("key_id", "secret"), [("wrong", None), (None, "wrong")], ids=["key id", "secret"]
)
def test_wrong_credentials_are_named_and_not_shown(
    s3: S3, monkeypatch: pytest.MonkeyPatch, key_id: str | None, secret: str | None
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id or s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret or s3.secret_key)
    store = open_store(dataclasses.replace(s3.replica(), credentials="env"))

    for attempt in (
        lambda: store.put("a", b""),
        lambda: store.head("a"),
        lambda: store.look("a"),
        lambda: store.is_there("a"),
        store.list("").__next__,
    ):
        with pytest.raises(CredentialsError) as refused:
            attempt()
        shown = f"{refused.value!r} {refused.value.message} {refused.value.hint}"
        assert s3.secret_key not in shown
        assert s3.secret_key not in repr(store)


def test_a_reader_reads_and_cannot_write(
    embedded_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(embedded_s3.replica()).put("for-the-reader", b"x")
    reader = embedded_s3.identity("reader")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", reader.secret_key)
    store = open_store(dataclasses.replace(embedded_s3.replica(), credentials="env"))

    assert store.get("for-the-reader").body == b"x"
    with pytest.raises(CredentialsError, match="denied"):
        store.put("by-the-reader", b"x")
    with pytest.raises(CredentialsError):
        store.delete("for-the-reader")


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.mark.parametrize("mode", ["refuse", "blackhole", "reset"])
def test_a_broken_line_is_an_error_in_time_and_passes_when_mended(
    s3: S3, proxy: Proxy, mode: Mode
) -> None:
    replica = dataclasses.replace(s3.replica(), endpoint=proxy.endpoint)
    store = open_store(replica, timeout_s=0.5, attempts=1)
    key = f"{replica.prefix}/a"
    open_store(replica).put(key, b"1")  # has its time, also on a busy machine
    proxy.set(mode)
    began = time.monotonic()

    for attempt in (
        lambda: store.put(key, b"2"),
        lambda: store.get(key),
        lambda: store.look(key),
        lambda: store.is_there(key),
        lambda: list(store.list("")),
    ):
        with pytest.raises(S3Unavailable, match="does not answer"):
            attempt()

    assert time.monotonic() - began < 60
    proxy.set("pass")

    def body() -> bytes | None:
        with contextlib.suppress(S3Unavailable):
            return store.look(key).body
        return None

    assert wait_until(body, 10, "mended") in {b"1", b"2"}  # the refused write may have arrived


@pytest.fixture
def web_page() -> Iterator[str]:
    """A server that answers everything with a page that is well-formed XML."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html><body>welcome</body></html>")

        def do_PUT(self) -> None:
            self.do_GET()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_page_is_no_empty_bucket(s3: S3, web_page: str) -> None:
    store = open_store(dataclasses.replace(s3.replica(), endpoint=web_page))

    for attempt in (
        lambda: list(store.list("")),
        lambda: list(store.folders("")),
        lambda: store.get("a"),
        lambda: store.put("a", b""),
        lambda: store.head("a"),
        lambda: store.look("a"),
        lambda: store.is_there("a"),
    ):
        with pytest.raises(S3Unavailable, match="not as S3 does"):
            attempt()


def test_importing_the_room_does_not_load_its_client() -> None:
    code = "import sys, obelisk_ops.objectstore.embedded; sys.exit('boto3' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_many_clients_cost_hardly_more_memory_than_one(replica: ReplicaSettings) -> None:
    """A supervisor whose keys are refused makes one after the other, in several threads."""
    code = (
        "import sys; from concurrent.futures import ThreadPoolExecutor\n"
        "import msgspec, psutil\n"
        "from obelisk_ops.objectstore import open_store\n"
        "from obelisk_ops.settings import ReplicaSettings\n"
        "replica = msgspec.json.decode(sys.argv[1], type=ReplicaSettings)\n"
        "used = psutil.Process().memory_info\n"
        "open_store(replica); before = used().rss\n"
        "with ThreadPoolExecutor(6) as pool: list(pool.map(open_store, [replica] * 24))\n"
        "print(used().rss - before >> 20)\n"
    )
    argv = [sys.executable, "-c", code, msgspec.json.encode(replica).decode()]

    grown = subprocess.run(argv, check=True, capture_output=True, text=True)

    assert int(grown.stdout) < 24
