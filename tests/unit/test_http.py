"""Answers of HTTP as bytes: which are read, wait for more, or are left to others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.core.http import Reply, parse, request

PLAIN = b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 5\r\n\r\nhello'


def test_a_request_is_its_line_its_headers_and_its_body() -> None:
    sent = request("POST", "/sync", {"Content-Length": "2"}, b"{}", version="HTTP/1.0")

    assert sent == b"POST /sync HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("come", "reply"),
    [
        (PLAIN, Reply(200, {"etag": '"a"', "content-length": "5"}, b"hello")),
        (
            b"HTTP/1.0 404 Not Found\r\nContent-Length:0\r\n\r\n",
            Reply(404, {"content-length": "0"}, b""),
        ),
        (
            b"HTTP/1.1 204\r\nVary: a\r\nvary:  b \r\nContent-Length: 0\r\n\r\n",
            Reply(204, {"vary": "a, b", "content-length": "0"}, b""),
        ),
    ],
)
def test_a_plain_answer_is_read(come: bytes, reply: Reply) -> None:
    assert parse(come) == reply


@given(st.integers(0, len(PLAIN) - 1))
def test_less_than_an_answer_waits_for_the_rest(size: int) -> None:
    assert parse(PLAIN[:size]) is None
    assert parse(PLAIN[:size], has_ended=True) is None


def test_the_answer_to_a_head_ends_with_its_head() -> None:
    reply = parse(PLAIN.removesuffix(b"hello"), has_body=False)

    assert reply is not None
    assert reply.body == b""


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    come = b"HTTP/1.0 500 Oh\r\n\r\nfor many reasons"

    assert parse(come) is None
    assert parse(come, has_ended=True) == Reply(500, {}, b"for many reasons")


@pytest.mark.parametrize("said", ["close", "Close", "keep-alive"])
def test_it_says_whether_it_was_the_last(said: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nConnection: {said}\r\nContent-Length: 0\r\n\r\n"

    reply = parse(head.encode())

    assert reply is not None
    assert reply.closes is (said != "keep-alive")


@pytest.mark.parametrize(
    ("come", "why"),
    [
        (PLAIN + b"HTTP", "more than one"),
        (PLAIN.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"), "in pieces"),
        (PLAIN.replace(b"5", b"-5"), "no length"),
        (PLAIN.replace(b"5", b"5\r\nContent-Length: 6"), "no length"),
        (PLAIN.replace(b"5", b"99999999"), "not small"),
        (PLAIN.replace(b"200", b"100"), "status"),
        (PLAIN.replace(b"200", b"ok"), "status"),
        (PLAIN.replace(b"HTTP/1.1", b"HTTP/2"), "status"),
        (PLAIN.replace(b"ETag:", b"ETag"), "no header"),
        (PLAIN.replace(b"ETag:", b"ETag :"), "no header"),
        (PLAIN.replace(b"ETag", b" ETag"), "no header"),
        (b"<html>" * 20_000, "head without an end"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused(come: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(come)


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_answer_waited_for_or_refused(noise: bytes) -> None:
    try:
        reply = parse(b"HTTP/1.1 200 OK\r\n" + noise)
    except ValueError:
        return
    assert reply is None or reply.status == 200
