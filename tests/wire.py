"""HTTP/1.1 as it comes over a line: heads, and bodies in pieces. For `tests.proxy`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import unquote

_PIECE = 64 * 1024
_BODILESS = {204, 304}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """
    The beginning of a request or an answer.

    Attributes:
        first: The request line or the status line, without its end.
        headers: Name and value as they came: a signature covers some of them.
    """

    first: str
    headers: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, name: str) -> str:
        """Return the value of a header, empty if there is none."""
        found = (value for key, value in self.headers if key.lower() == name.lower())
        return next(found, "")

    def without(self, *names: str) -> Self:
        """Return it without some headers."""
        left = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return replace(self, headers=left)

    def with_header(self, name: str, value: str) -> Self:
        """Return it with one header set."""
        left = self.without(name.lower())
        return replace(left, headers=(*left.headers, (name, value)))

    def encode(self) -> bytes:
        """Return its bytes, the empty line behind it included."""
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked: ``path`` is decoded, ``query`` is not."""

    head: Head
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.head.first.split(" ")[0]

    @property
    def path(self) -> str:
        return unquote(self.head.first.split(" ")[1].partition("?")[0])

    @property
    def query(self) -> str:
        return self.head.first.split(" ")[1].partition("?")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered, whole."""

    head: Head
    body: bytes = b""

    @classmethod
    def of(cls, status: int, body: bytes = b"", *, kind: str = "application/xml") -> Self:
        """Return an answer of our own."""
        head = Head(first=f"HTTP/1.1 {status} Made", headers=(("Content-Type", kind),))
        return cls(head=head, body=body)

    @property
    def status(self) -> int:
        return int(self.head.first.split(" ")[1])

    def encode_head(self, *, to_method: str) -> bytes:
        """Return its head as it is sent: the length is that of the body, or of a HEAD's."""
        head = self.head.without("transfer-encoding")
        if to_method != "HEAD" and self.status not in _BODILESS:
            head = head.with_header("Content-Length", str(len(self.body)))
        return head.encode()


async def read_head(reader: asyncio.StreamReader) -> Head:
    """
    Read the next head.

    Raises:
        EOFError: The line ended.
    """
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise EOFError from None
    first, *lines = text.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(first=first, headers=tuple((name, value.strip()) for name, _, value in pairs))


def has_body(head: Head, *, method: str) -> bool:
    """Tell whether an answer to *method* that begins so has a body."""
    return method != "HEAD" and int(head.first.split(" ")[1]) not in _BODILESS


async def pieces(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """Yield the bytes of a body as they come, chunk headers left out."""
    if "chunked" in head["Transfer-Encoding"].lower():
        while size := int((await reader.readline()).split(b";")[0], 16):
            async for piece in _exactly(reader, size):
                yield piece
            await reader.readline()
        await reader.readline()
    elif length := int(head["Content-Length"] or 0):
        async for piece in _exactly(reader, length):
            yield piece


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """Read a whole body."""
    return b"".join([piece async for piece in pieces(reader, head)])


async def _exactly(reader: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    while count:
        piece = await reader.read(min(count, _PIECE))
        if not piece:
            raise EOFError
        count -= len(piece)
        yield piece
