"""
What activities print and log, kept for each attempt and passed on all the same.

While an engine runs, ``sys.stdout`` and ``sys.stderr`` are objects that hand everything on
to the real ones and note what an attempt writes; which attempt it is a context variable
tells. Logged records are seen where they are made: a handler would silence the handler of
last resort, and ``logging.basicConfig`` after it.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple

from obelisk_ops.core.ports import OutputRow
from obelisk_ops.durable.flow.attempt import Attempt, Key, current

#: for one attempt; the beginning and the end are kept
LIMIT_BYTES = 64 * 1024


class Piece(NamedTuple):
    """Something written at once."""

    stream: str
    at: int
    text: str


class Output:
    """What one attempt has written. Any thread may add to it."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._half = limit // 2
        self._head: list[Piece] = []
        self._head_room = limit - self._half
        self._tail: deque[Piece] = deque()
        self._tail_bytes = 0
        self._cut = 0
        self._is_open = True
        self._lock = Lock()

    def add(self, stream: str, at: int, text: str) -> None:
        """Note a piece; the middle of too much is left out."""
        text = text.encode(errors="backslashreplace").decode()
        with self._lock:
            if not self._is_open:
                return
            fits, rest = _split(text, self._head_room)
            self._head_room -= _size(fits)
            if fits:
                self._head.append(Piece(stream, at, fits))
            if rest:
                self._head_room = 0
                self._add_to_tail(Piece(stream, at, rest))

    def close(self) -> list[Piece]:
        """Return it all, neighbours of one stream as one piece; what comes later is dropped."""
        with self._lock:
            self._is_open = False
            cut = [Piece("cut", self._tail[0].at if self._tail else 0, str(self._cut))]
            return [*_joined(self._head), *(cut if self._cut else []), *_joined(self._tail)]

    def _add_to_tail(self, piece: Piece) -> None:
        self._tail.append(piece)
        self._tail_bytes += _size(piece.text)
        while self._tail_bytes > self._half:
            first = self._tail.popleft()
            excess = self._tail_bytes - self._half
            gone, kept = _split(first.text, excess)
            if _size(gone) < excess and kept:  # not in the middle of a character
                gone, kept = gone + kept[0], kept[1:]
            if kept:
                self._tail.appendleft(first._replace(text=kept))
            self._tail_bytes -= _size(gone)
            self._cut += _size(gone)


def rows(key: Key, attempt: int, pieces: Iterable[Piece]) -> list[OutputRow]:
    """Return the pieces as they are stored."""
    return [
        (*key, attempt, seq, piece.stream, piece.at, piece.text)
        for seq, piece in enumerate(pieces, start=1)
    ]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _split(text: str, size: int) -> tuple[str, str]:
    """Return what fits into *size* bytes, and the rest."""
    if _size(text) <= size:
        return text, ""
    fits = text[:size] if text.isascii() else text.encode()[:size].decode(errors="ignore")
    return fits, text[len(fits) :]


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    found: list[tuple[str, int, list[str]]] = []
    for piece in pieces:
        if not found or found[-1][0] != piece.stream:
            found.append((piece.stream, piece.at, []))
        found[-1][2].append(piece.text)
    return [Piece(stream, at, "".join(texts)) for stream, at, texts in found]


class _Tee:
    """Stands for ``sys.stdout`` or ``sys.stderr``; it is the real one in all but ``write``."""

    def __init__(self, real: Any, stream: str) -> None:  # noqa: ANN401 - whatever is there
        self.real = real
        self.engines = 0
        self._stream = stream

    def write(self, text: Any) -> int:  # noqa: ANN401 - to complain about it is the real one's
        """Note it if an attempt writes it, and hand it on."""
        attempt = current.get()
        if (
            isinstance(attempt, Attempt)
            and isinstance(text, str)
            # What is logged was noted when the record was made.
            and sys._getframe(1).f_code is not _WRITES_LOGS  # noqa: SLF001 - one frame up
        ):
            attempt.wrote(self._stream, text)
        written: int = self.real.write(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the real one
        return getattr(self.real, name)


_WRITES_LOGS = logging.StreamHandler.emit.__code__
_as_line = logging.Formatter("%(levelname)s %(name)s: %(message)s")


class _Noting:
    """Makes log records, and notes those of attempts."""

    def __init__(self, real: Callable[..., logging.LogRecord]) -> None:
        self.real = real
        self.engines = 0

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401
        record = self.real(*args, **kwargs)
        attempt = current.get()
        if isinstance(attempt, Attempt) and record.name:
            # Arguments that do not fit the message are the handlers' to complain about.
            with suppress(Exception):
                attempt.wrote("log", _as_line.format(record) + "\n")
        return record


_one_at_a_time = Lock()


class Capture:
    """
    One engine's wish that what attempts write is noted.

    Streams belong to the process: engines share what one of them has put in place, and the
    last one puts back what was there, unless somebody has put something else there since.
    """

    def __init__(self) -> None:
        self._tees: dict[str, _Tee] = {}
        self._noting: _Noting | None = None
        self.has_begun = False

    def begin(self) -> None:
        """Note it from now on."""
        if self._noting is not None:
            return
        with _one_at_a_time:
            for name in ("stdout", "stderr"):
                found = getattr(sys, name)
                if found is not None:
                    tee = found if isinstance(found, _Tee) else _Tee(found, name)
                    tee.engines += 1
                    setattr(sys, name, tee)
                    self._tees[name] = tee
            make = logging.getLogRecordFactory()
            self._noting = make if isinstance(make, _Noting) else _Noting(make)
            self._noting.engines += 1
            logging.setLogRecordFactory(self._noting)
        self.has_begun = True

    def end(self) -> None:
        """Note it no more. Ending twice is allowed."""
        noting = self._noting
        if noting is None:
            return
        with _one_at_a_time:
            self._noting, self.has_begun = None, False
            for name, tee in self._tees.items():
                tee.engines -= 1
                if not tee.engines and getattr(sys, name) is tee:
                    setattr(sys, name, tee.real)
            noting.engines -= 1
            if not noting.engines and logging.getLogRecordFactory() is noting:
                logging.setLogRecordFactory(noting.real)
