"""Words for people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return how many there are: ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shorten(text: str, most: int) -> str:
    """Return the beginning of a long text, and that it is not all of it."""
    return text if len(text) <= most else f"{text[:most]}…"
