"""As much of a text as a person reads, and how long all of it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from obelisk_ops.core.chronicle import Chronicle
from obelisk_ops.core.ports import Output

_CUT: Final = "cut"
#: what the values of one execution may take together, if there are many
_ALL_VALUES: Final = 3_000_000
_VALUE_LEAST, _VALUE_MOST = 160, 4_000
_ON_A_LINE: Final = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """
    A text, or the beginning or the end of it.

    Attributes:
        text: What is shown.
        bytes: How long all of it is, in UTF-8.
        is_cut: Whether it is not all.
    """

    text: str
    bytes: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A piece of output; or no text, where ``cut_bytes`` were left out."""

    stream: str
    at: int
    text: str = ""
    cut_bytes: int = 0


def value_limit(told: Chronicle) -> int:
    """Return how many bytes of each value are shown: fewer, the more values there are."""
    values = 2 * len(told.calls) + sum(len(call.attempts) for call in told.calls.values())
    return min(max(_ALL_VALUES // max(values, 1), _VALUE_LEAST), _VALUE_MOST)


def of_json(value: bytes, most: int) -> Excerpt:
    """Return JSON laid out for people; if it is long, its beginning as it is on disk."""
    if len(value) <= most:
        indent = 2 if len(value) > _ON_A_LINE else 0
        laid_out = msgspec.json.format(value, indent=indent).decode(errors="replace")
        return Excerpt(text=laid_out, bytes=len(value))
    text = value[:most].decode(errors="ignore")
    return Excerpt(text=text, bytes=len(value), is_cut=True)


def beginning(text: str, most: int) -> Excerpt:
    """Return a text, at most so many characters from its beginning."""
    size = len(text.encode(errors="replace"))
    return Excerpt(text=text[:most], bytes=size, is_cut=len(text) > most)


def ending(text: str, most: int) -> Excerpt:
    """Return a text, at most so many characters up to its end, where a traceback tells most."""
    size = len(text.encode(errors="replace"))
    return Excerpt(text=text[-most:], bytes=size, is_cut=len(text) > most)


def printed(pieces: Iterable[Output], most: int) -> tuple[Printed, ...]:
    """Return the output of an attempt, at most so many characters up to its end."""
    shown: list[Printed] = []
    left_out = 0
    for piece in reversed(list(pieces)):
        if piece.stream == _CUT:
            cut = int(piece.text) if piece.text.isdecimal() else 0
            left_out += cut if not most else 0
            shown += [Printed(stream=_CUT, at=piece.at, cut_bytes=cut)] if most else []
            continue
        begin = max(len(piece.text) - most, 0)
        most -= len(piece.text) - begin
        left_out += len(piece.text[:begin].encode(errors="replace"))
        if begin < len(piece.text):
            shown.append(Printed(stream=piece.stream, at=piece.at, text=piece.text[begin:]))
    if left_out:
        shown.append(Printed(stream=_CUT, at=shown[-1].at if shown else 0, cut_bytes=left_out))
    return tuple(reversed(shown))
