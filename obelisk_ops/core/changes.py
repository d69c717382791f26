"""What differs between two JSON values, place by place. Pure, and bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")
_DEEPEST: Final = 40
MOST: Final = 20


@dataclass(frozen=True, slots=True)
class Change:
    """
    One place that differs.

    Attributes:
        path: As in JSONPath: ``$.loss``, ``$[2]["a b"]``.
        left: JSON text; None where there is nothing.
        right: JSON text; None where there is nothing.
    """

    path: str
    left: str | None
    right: str | None


def changes(left: bytes | None, right: bytes | None, most: int = MOST) -> tuple[Change, ...]:
    """Return where two JSON texts differ, at most so many places; members have no order."""
    if left == right:
        return ()
    if left is None or right is None:
        return (Change("$", _text(left), _text(right)),)
    try:
        one, other = msgspec.json.decode(left), msgspec.json.decode(right)
        return tuple(islice(_between("$", one, other, _DEEPEST), most))
    except RecursionError:  # nested deeper than anybody reads
        return (Change("$", _text(left), _text(right)),)


def is_same(left: bytes | None, right: bytes | None) -> bool:
    """Tell whether two JSON texts are the same value."""
    return left == right or not changes(left, right, 1)


def _between(path: str, left: Any, right: Any, depth: int) -> Iterator[Change]:  # noqa: ANN401
    if depth and isinstance(left, list) and isinstance(right, list):
        left, right = dict(enumerate(left)), dict(enumerate(right))
    if depth and isinstance(left, dict) and isinstance(right, dict):
        for key in (*left, *(key for key in right if key not in left)):
            place = path + _step(key)
            if key in left and key in right:
                yield from _between(place, left[key], right[key], depth - 1)
            else:
                yield Change(place, _member(left, key), _member(right, key))
    elif _json(left) != _json(right):  # not by ==: true is not 1
        yield Change(path, _json(left), _json(right))


def _step(key: str | int) -> str:
    if isinstance(key, str) and _PLAIN.fullmatch(key):
        return f".{key}"
    return f"[{_json(key)}]"


def _member(whole: dict[Any, Any], key: str | int) -> str | None:
    return _json(whole[key]) if key in whole else None


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
