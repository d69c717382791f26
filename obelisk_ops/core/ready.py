"""Answers that are there at once, and may be awaited as well, like all else of a handle."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Ready:
    """Something that is itself when it is awaited, without a pause."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Self]:
        return _itself(self).__await__()


class Listing(Ready, list[T]):
    """A list that may be awaited."""

    __slots__ = ()


async def _itself(ready: T) -> T:
    return ready
