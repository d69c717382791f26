"""Words for people."""

from __future__ import annotations

_NEXT_UNIT = 1024
_TENTH_COUNTS = 10


def counted(number: int, noun: str) -> str:
    """Return how many there are: ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shorten(text: str, most: int) -> str:
    """Return the beginning of a long text, and that it is not all of it."""
    return text if len(text) <= most else f"{text[:most]}…"


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
