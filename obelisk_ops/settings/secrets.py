"""
The secrets that were read, so that no text which leaves this process can hold one.

Every secret passes here when it is read: also the ones that replace others while the
process runs.
"""

from __future__ import annotations

HIDDEN = "[redacted]"
#: A shorter word would be found by chance, and its replacement would tell what it is.
_LENGTH_MIN = 6

_known: set[str] = set()


def remember(secret: str) -> str:
    """Return *secret*, and hide it from now on."""
    if len(secret) >= _LENGTH_MIN:
        _known.add(secret)
    return secret


def hide(text: str) -> str:
    """Return *text* without any secret that was read."""
    # The longest first: one may be a part of another.
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def hide_in(value: object) -> object:
    """Return *value*, made of mappings, lists and texts, without any secret that was read."""
    match value:
        case str():
            return hide(value)
        case dict():
            return {key: hide_in(item) for key, item in value.items()}
        case list() | tuple():
            return [hide_in(item) for item in value]
        case _:
            return value
