"""
Several histories in one file: an execution, and the child workflows below it.

The document is that of the execution (``core.history``) with one more field, ``children``:
who wants the one history only may read it as such.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from obelisk_ops.core import history
from obelisk_ops.core.history import History
from obelisk_ops.errors import InvalidInput


class _Children(Struct):
    children: list[Raw] = []


def to_json(histories: Sequence[History]) -> str:
    """Write histories as one document, the first one's; the others are its children."""
    texts = [history.to_json(one) for one in histories]
    if len(texts) == 1:
        return texts[0]
    children = ",\n".join(text.rstrip("\n") for text in texts[1:])
    whole = texts[0].rstrip("\n").removesuffix("\n}")
    return f'{whole},\n "children": [\n{children}\n ]\n}}\n'


def from_json(text: str | bytes) -> list[History]:
    """
    Read what ``to_json`` wrote.

    Raises:
        InvalidInput: It is no such document, or one of the histories cannot be used.
    """
    first = history.from_json(text)
    try:
        children = msgspec.json.decode(text, type=_Children).children
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the children of this history cannot be read: {error}") from error
    return [first, *(history.from_json(bytes(one)) for one in children)]
