"""Words for people."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_NEXT_UNIT = 1024
_TENTH_COUNTS = 10
_SIZE = re.compile(r"([1-9][0-9]{0,8})(KiB|MiB|GiB|TiB)")
_POWERS = {"KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}


def meant(word: str, known: Iterable[str]) -> str:
    """Return a guess at which of the *known* words was meant, before another hint."""
    there = list(known)
    near = [one for one in there if one.endswith(f".{word}")]  # without its module
    near = near or difflib.get_close_matches(word, there, n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def counted(number: int, noun: str) -> str:
    """Return how many there are: ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shorten(text: str, most: int) -> str:
    """Return the beginning of a long text, and that it is not all of it."""
    return text if len(text) <= most else f"{text[:most]}…"


def parse_size(text: str) -> int:
    """
    Return the bytes that *text* names: ``500MiB``, ``10GiB``.

    Raises:
        ValueError: It is not such a text; the message says what to write.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("no amount of bytes; write it like 500MiB or 10GiB")
    return int(found[1]) * int(_NEXT_UNIT ** _POWERS[found[2]])


def format_size(size: int) -> str:
    """Write *size* the way ``parse_size`` reads it, in whole KiB."""
    unit = max(
        (u for u, p in _POWERS.items() if size % _NEXT_UNIT**p == 0),
        default="KiB",
        key=_POWERS.__getitem__,
    )
    return f"{size // _NEXT_UNIT ** _POWERS[unit]}{unit}"


def words_for_bytes(size: int) -> str:
    """Write an amount of bytes as a person says it: ``512 bytes``, ``20 KiB``, ``1.5 MiB``."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < _NEXT_UNIT:
            digits = 1 if unit != "bytes" and amount < _TENTH_COUNTS else 0
            return f"{amount:.{digits}f} {unit}"
        amount /= _NEXT_UNIT
    return f"{amount:.1f} TiB"


def harmless(text: str, spared: str = "") -> str:
    """Show control characters instead of sending them to the reader, but for *spared*."""
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() or ch in spared else repr(ch)[1:-1] for ch in text)
