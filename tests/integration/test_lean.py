"""What is asked without boto3, and without a thread, of a server that has ways of its own."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import S3Unavailable
from obelisk_ops.objectstore import ObjectStore, lean, open_store
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.bucket import Bucket
from tests.engines import looped
from tests.support import wait_until

BODY = b"hello"


class Clock:
    """Stands still until it is moved."""

    at_ms = 0

    def elapsed_ms(self) -> int:
        return self.at_ms


class Server(ThreadingHTTPServer):
    """
    Answers each request in the way that is next; in the last one from then on.

    plain: with a length. chunked: in pieces. last: and hangs up after it, as it says.
    cut: hangs up within it. gone: hangs up without it. silent: not at all. refused: with 503.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ways: list[str] = ["plain"]
        self.asked = 0
        self.lines = 0
        self.over = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Say nothing: those who ask hang up too."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.lines += 1

    def do_GET(self) -> None:
        server = self.server
        server.asked += 1
        way = server.ways.pop(0) if len(server.ways) > 1 else server.ways[0]
        if way == "silent":
            server.over.wait(60)
        if way in {"gone", "silent"}:
            self.close_connection = True
            return
        if way == "refused":
            self.send_error(503)
            return
        self._head(way)
        if way == "chunked":
            self.wfile.write(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        else:
            self.wfile.write(BODY[:2] if way == "cut" else BODY)
        self.close_connection = way in {"cut", "last"}

    def _head(self, way: str) -> None:
        self.send_response(200)
        self.send_header("ETag", '"a"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if way == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(BODY)))
        if way == "last":
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def place(
    server: Server, replica: ReplicaSettings, monkeypatch: pytest.MonkeyPatch
) -> ReplicaSettings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    endpoint = f"http://127.0.0.1:{server.server_port}"
    return dataclasses.replace(replica, endpoint=endpoint, credentials="env")


@pytest.fixture
def store(place: ReplicaSettings) -> ObjectStore:
    return open_store(place, timeout_s=60, attempts=1)


@pytest.mark.parametrize(
    ("ways", "asked", "lines"),
    [
        (["plain"], 4, 1),
        (["last"], 4, 4),
        (["plain", "last", "plain"], 4, 2),
        # Once in vain: from then on it is asked by who understands it.
        (["chunked"], 5, 2),
        (["plain", "cut", "plain"], 5, 2),
        (["plain", "gone", "plain"], 5, 2),
    ],
    ids=lambda case: ",".join(case) if isinstance(case, list) else "",
)
def test_however_it_answers_it_is_understood(
    server: Server, store: ObjectStore, ways: list[str], asked: int, lines: int
) -> None:
    server.ways = ways

    bodies = [store.look("a").body for _ in range(4)]

    assert bodies == [BODY] * 4
    assert (server.asked, server.lines) == (asked, lines)


def test_who_waited_in_vain_over_an_open_line_does_not_ask_again(
    server: Server, place: ReplicaSettings
) -> None:
    store = open_store(place, timeout_s=0.5, attempts=1)

    def is_open() -> bool:
        with suppress(S3Unavailable):  # a busy machine stands still for longer than that
            return store.look("a").body == BODY
        return False

    wait_until(is_open, 60, "an answer")
    server.ways, before = ["silent"], server.asked

    with pytest.raises(S3Unavailable, match="does not answer"):
        store.look("a")

    assert server.asked <= before + 1


def test_a_signature_is_used_for_a_minute_and_for_one_question(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, signed, sign = Clock(), list[str](), S3SigV4Auth.add_auth

    def signs(by: S3SigV4Auth, request: AWSRequest) -> None:
        signed.append(str(request.url)[-1])
        sign(by, request)

    monkeypatch.setattr(lean, "_CLOCK", clock)
    monkeypatch.setattr(S3SigV4Auth, "add_auth", signs)
    for at_ms, key in ((0, "a"), (59_999, "a"), (60_000, "a"), (60_000, "b"), (60_000, "b")):
        clock.at_ms = at_ms
        store.look(key)

    assert signed == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        ("plain", 1),
        ("last", 1),
        # Once more, by who understands it.
        ("chunked", 2),
        ("cut", 2),
        ("gone", 2),
        ("refused", 2),
    ],
)
@looped
async def test_the_loop_itself_asks_over_an_open_line(
    server: Server, store: ObjectStore, way: str, asked: int
) -> None:
    bucket = Bucket(lambda: store, SystemClock())
    await bucket.look("a")
    server.ways, before, sent = [way, "plain"], server.asked, bucket.meter.sent

    found = await bucket.look("a")

    assert found is not None
    assert (found.body, found.info.size, found.info.etag) == (BODY, 5, '"a"')
    assert server.asked - before == bucket.meter.sent - sent == asked
    assert bucket.time is not None
    assert bucket.problem is None
    assert not bucket.is_busy


@looped
async def test_the_loop_does_other_things_until_an_answer_is_late(
    server: Server, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(lambda: store, SystemClock())
    await bucket.look("a")
    monkeypatch.setattr("obelisk_ops.supervise.bucket.TIMEOUT_S", 0.2)
    server.ways, before = ["silent"], server.asked

    with pytest.raises(S3Unavailable, match="does not answer"):
        await bucket.look("a")

    assert server.asked <= before + 1
    assert bucket.problem is not None
    assert bucket.problem.why == "no answer in 0.2 s"
