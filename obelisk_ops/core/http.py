"""
Requests and small answers of HTTP as bytes, for connections that are kept open.

Python's own client parses the head of an answer as that of an e-mail, and wraps what it reads
three times: that takes longer than a server next door takes to answer. Here nothing is
understood but a head, and a body of which the length is told. Whatever else comes is for a
client that knows all of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

_HEAD_END = b"\r\n\r\n"
_HEAD_BYTES_MAX = 64 * 1024
_BODY_BYTES_MAX = 4 * 1024 * 1024
_VERSIONS = ("HTTP/1.1", "HTTP/1.0")
#: of a head, in which whatever stands between may have written what it likes
_ENCODING = "latin-1"


class Reply(Struct, frozen=True, gc=False):
    """
    One answer.

    Attributes:
        status: Its number.
        headers: By their names in lower case.
        body: All of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether no other request may be sent over the same connection."""
        return self.headers.get("connection", "").lower() == "close"


def request(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request as it is sent; *headers* are all that it has."""
    lines = [f"{method} {target} {version}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode(_ENCODING) + body


def parse(come: bytes, *, has_body: bool = True, has_ended: bool = False) -> Reply | None:
    """
    Return the answer to one request, after which the connection is free for the next one.

    Args:
        come: All that has come of it.
        has_body: Whether the answer to this request has a body at all.
        has_ended: Whether nothing more will come.

    Returns:
        None as long as more has to come.

    Raises:
        ValueError: It is an answer of another kind, or none; nothing that comes behind it
            can be told from it.
    """
    head, end, body = come.partition(_HEAD_END)
    if not end:
        if len(come) > _HEAD_BYTES_MAX:
            raise ValueError("a head without an end")
        return None
    first, *lines = head.decode(_ENCODING).split("\r\n")
    status, headers = _status(first), _headers(lines)
    size = _size(headers) if has_body else 0
    if size is None and has_ended:
        size = len(body)
    if max(len(body), size or 0) > _BODY_BYTES_MAX:
        raise ValueError("an answer that is not small")
    if size is None or len(body) < size:
        return None
    if len(body) > size:
        raise ValueError("more than one answer")
    return Reply(status, headers, body)


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    status = rest[:3]
    if version not in _VERSIONS or not status.isdecimal() or status < "200":
        raise ValueError(f"no last line of a status: {line[:80]!r}")
    return int(status)


def _headers(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise ValueError(f"no header: {line[:80]!r}")
        # Said twice it is a list; a length that is one is none.
        found[name] = f"{found[name]}, {value.strip()}" if name in found else value.strip()
    return found


def _size(headers: Mapping[str, str]) -> int | None:
    """Return how long a body is; None if it is over when the connection is."""
    if "transfer-encoding" in headers:
        raise ValueError("an answer in pieces")
    told = headers.get("content-length")
    if told is not None and not told.isdecimal():
        raise ValueError(f"no length: {told[:80]!r}")
    return None if told is None else int(told)
