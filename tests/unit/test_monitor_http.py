"""Which requests for metrics are answered."""

from __future__ import annotations

import pytest

from obelisk_ops.monitor.http import answer, read


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n", 200),
        ("GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("HEAD /metrics HTTP/1.0\r\nhost:[::1]:9464\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: Ops.Internal:9464\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 421),
        ("GET /metrics HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421),
        ("GET /metrics HTTP/1.1\r\nHost: evil@[::1\r\n\r\n", 421),
        ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nhost: evil.example\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET /metrics\r\n\r\n", 400),
        ("GET /metrics FTP/1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        ("GET /m\u00e9 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        ("GET /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
    ],
)
def test_a_request(head: str, status: int) -> None:
    assert read(head.encode(), hosts=("ops.internal",)).status == status


def test_what_is_wanted_of_it() -> None:
    asked = read(b"HEAD /metrics HTTP/1.1\r\nHost: ::1\r\nAccept: a, b\r\n\r\n", hosts=())
    plain = read(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", hosts=())

    assert (asked.status, plain.accept, plain.has_body) == (421, "", True)
    assert (
        read(b"HEAD /metrics HTTP/1.1\r\nHost: [::1]\r\nAccept: a, b\r\n\r\n", hosts=()).accept
        == "a, b"
    )


def test_an_answer_ends_the_line() -> None:
    whole = answer(200, "text/plain", b"body")

    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 4" in head
    assert b"Connection: close" in head
    assert body == b"body"
    assert answer(200, "text/plain", b"body", has_body=False).endswith(b"\r\n\r\n")
