"""
What a pickle is about, read off its opcodes.

To load a pickle is to run what somebody has written into it, so nothing here does. The
opcodes name the types that it would make, and hold the texts and numbers it would make them of.
"""

from __future__ import annotations

import base64
import binascii
import pickletools

_WORDS_MAX = 12
_TEXT_MAX = 200
_OPCODES_MAX = 20_000

_CONSTANTS = {"NEWTRUE": "True", "NEWFALSE": "False", "NONE": "None"}
#: Others are places in the memo, lengths, and the protocol.
_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"})

#: Every pickle of protocol 2 or later begins with this byte; base64 makes "gA" of it.
_BEGINS = b"\x80"


def decode(text: str) -> bytes | None:
    """Return the pickle that a base64 *text* holds; None if it holds none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if raw.startswith(_BEGINS) else None


def describe(pickle: bytes) -> str:
    """
    Return the types, texts and numbers in a pickle, in their order: ``ValueError 'no card'``.

    Of one that is cut short or no pickle, what stands before the place that cannot be read.
    """
    words = _Words()
    try:
        for count, (opcode, value, _place) in enumerate(pickletools.genops(pickle)):
            if count > _OPCODES_MAX or len(words.found) > _WORDS_MAX:
                break
            words.take(opcode.name, value)
    except (ValueError, IndexError, OverflowError, MemoryError):
        words.found.append("…")
    if len(words.found) > _WORDS_MAX:
        words.found[_WORDS_MAX:] = ["…"]
    return " ".join(words.found)


class _Words:
    """What was read so far, and the texts that later opcodes refer to by their number."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._memo: list[str | None] = []
        self._latest: str | None = None

    def take(self, name: str, value: object) -> None:
        latest, self._latest = self._latest, None
        match name, value:
            case "MEMOIZE", _:
                self._memo.append(latest)
            case "BINGET" | "LONG_BINGET", int(place):
                self._text(self._memo[place] if place < len(self._memo) else None)
            case "STACK_GLOBAL", _:  # a type, of its module and its name: the last two
                self.found[-2:] = [word.strip("'") for word in self.found[-1:]]
            case "GLOBAL", _:
                self.found.append(str(value).rpartition(" ")[2])
            case _, str(text):
                self._text(text)
            case _:
                self._constant(name, value)

    def _constant(self, name: str, value: object) -> None:
        if name in _CONSTANTS:
            self.found.append(_CONSTANTS[name])
        elif isinstance(value, float) or name in _NUMBERS:
            self.found.append(repr(value))
        elif isinstance(value, bytes | bytearray):
            self.found.append(f"{len(value)} bytes")

    def _text(self, text: str | None) -> None:
        if text is not None:
            self._latest = text
            self.found.append(repr(text[:_TEXT_MAX]))
