"""
What a proxy can do to single requests of S3.

Each kind says what it answers instead of the server, how it changes what the server
answered, or how slowly and how far bytes come. `tests.proxy` applies them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

from tests.wire import Answer, Request

_CONTENTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """
    How the bytes of a body come.

    Attributes:
        latency_s: The rest before each piece.
        rate: Bytes a second; None for as fast as they come.
        until: After so many bytes the line is reset; None for never.
    """

    latency_s: float = 0
    rate: int | None = None
    until: int | None = None


class Fault:
    """What goes wrong with one request. As it stands nothing does."""

    def instead(self, request: Request) -> Answer | None:
        """Return what is answered without asking the server; None to ask it."""
        return None

    def change(self, request: Request, answer: Answer) -> Answer:
        """Return what becomes of the server's answer."""
        return answer

    @property
    def changes(self) -> bool:
        """Whether it has to see the whole answer."""
        return type(self).change is not Fault.change

    @property
    def pace(self) -> Pace:
        """How the bytes come, in both directions."""
        return Pace()


@dataclass(frozen=True)
class Refused(Fault):
    """The server says no: 403 AccessDenied, 503 SlowDown, 403 RequestTimeTooSkewed, …"""

    status: int
    code: str

    def instead(self, request: Request) -> Answer:
        text = f"<Error><Code>{self.code}</Code><Message>by a test</Message></Error>"
        return Answer.of(self.status, text.encode())


@dataclass(frozen=True)
class Slow(Fault):
    """Bytes come late, and few at a time."""

    latency_s: float = 0
    rate: int | None = None

    @property
    def pace(self) -> Pace:
        return Pace(latency_s=self.latency_s, rate=self.rate)


@dataclass(frozen=True)
class CutAfter(Fault):
    """The line is reset after so many bytes of the answer; 0: it was done, and nobody hears."""

    answer_bytes: int = 0

    @property
    def pace(self) -> Pace:
        return Pace(until=self.answer_bytes)


@dataclass(frozen=True)
class SwallowedPut(Fault):
    """An upload is answered as if it were done, and is not."""

    def instead(self, request: Request) -> Answer | None:
        answer = Answer.of(200)
        etag = f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'
        return replace(answer, head=answer.head.with_header("ETag", etag))


@dataclass(frozen=True)
class SwallowedDelete(Fault):
    """A delete is answered as if it were done, and is not; one object or many."""

    def instead(self, request: Request) -> Answer | None:
        if request.method == "DELETE":
            return Answer.of(204)
        if request.method == "POST" and re.search(r"(^|&)delete(=|&|$)", request.query):
            gone = b"".join(b"<Deleted>%s</Deleted>" % m for m in _keys(request.body))
            return Answer.of(200, b"<DeleteResult>%s</DeleteResult>" % gone)
        return None


@dataclass(frozen=True)
class ShortList(Fault):
    """A listing leaves out its last keys, as one that is a moment old does."""

    dropped: int

    def change(self, request: Request, answer: Answer) -> Answer:
        listed = list(_CONTENTS.finditer(answer.body))[-self.dropped :]
        if "list-type=2" not in request.query or answer.status != 200 or not listed:
            return answer
        left = answer.body[: listed[0].start()] + answer.body[listed[-1].end() :]
        count = b"<KeyCount>%d</KeyCount>" % len(_CONTENTS.findall(left))
        return replace(answer, body=re.sub(rb"<KeyCount>\d+</KeyCount>", count, left))


@dataclass(frozen=True)
class Skewed(Fault):
    """The server's clock, as its answers show it, is off by so many seconds."""

    seconds: float

    def change(self, request: Request, answer: Answer) -> Answer:
        at = parsedate_to_datetime(answer.head["Date"]) + timedelta(seconds=self.seconds)
        head = answer.head.with_header("Date", format_datetime(at, usegmt=True))
        return replace(answer, head=head)


@dataclass(frozen=True)
class Timeless(Fault):
    """The server's answers do not show its clock."""

    def change(self, request: Request, answer: Answer) -> Answer:
        return replace(answer, head=answer.head.with_header("Date", ""))


@dataclass(frozen=True)
class FlippedBit(Fault):
    """One bit of a body that is read differs; *at* counts bytes, from the end if negative."""

    at: int

    def change(self, request: Request, answer: Answer) -> Answer:
        if request.method != "GET" or not -len(answer.body) <= self.at < len(answer.body):
            return answer
        body = bytearray(answer.body)
        body[self.at] ^= 1
        return replace(answer, body=bytes(body))


def _keys(body: bytes) -> list[bytes]:
    return [found.group() for found in _KEY.finditer(body)]
