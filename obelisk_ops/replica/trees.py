"""
What a page of an SQLite database leads to: the pages below it, and those of long values.

Only as much of the format as guesses need; what makes no sense leads nowhere.
Source: https://sqlite.org/fileformat2.html, sections 1.6 and 1.7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_INNER_KINDS = (2, 5)
_TABLE_LEAF = 13
_FILE_HEADER_BYTES = 100
_RESERVED_PLACE = 20
_NODE = struct.Struct(">B2xH")
_LEAF_HEADER_BYTES = 8
_INNER_HEADER_BYTES = 12
_POINTER = struct.Struct(">I")
_VARINT_BYTES_MAX = 9


def reserved(first_page: bytes) -> int:
    """Return how many bytes at the end of each page SQLite does not use."""
    return first_page[_RESERVED_PLACE]


def is_leaf(pgno: int, page: bytes) -> bool:
    """Tell whether a page is a leaf of a table."""
    return page[_head(pgno)] == _TABLE_LEAF


def children_of(pgno: int, page: bytes) -> tuple[int, ...]:
    """Return the pages below an inner page of a tree, in their order; none if it is none."""
    head = _head(pgno)
    if page[head] not in _INNER_KINDS:
        return ()
    cells = _cells(page, head, _INNER_HEADER_BYTES)
    if not cells:
        return ()
    (last,) = _POINTER.unpack_from(page, head + _LEAF_HEADER_BYTES)
    return (*(_POINTER.unpack_from(page, cell)[0] for cell in cells), last)


def long_values(pgno: int, page: bytes, usable: int) -> Iterator[tuple[int, int]]:
    """
    Yield where rows of a table's leaf go on: the first page, and how many there are.

    They follow each other in the file if they were written in one go into new pages.

    Args:
        pgno: The number of the page.
        page: Its content.
        usable: Bytes of a page that SQLite uses.
    """
    if not is_leaf(pgno, page):
        return
    most, least = usable - 35, (usable - 12) * 32 // 255 - 23
    for cell in _cells(page, _head(pgno), _LEAF_HEADER_BYTES):
        size, place = _varint(page, cell)
        if size <= most:
            continue
        _, place = _varint(page, place)
        here = least + (size - least) % (usable - 4)
        here = here if here <= most else least
        if place + here + _POINTER.size <= len(page):
            (first,) = _POINTER.unpack_from(page, place + here)
            yield first, -(-(size - here) // (usable - 4))


def next_of(page: bytes) -> int:
    """Return the page with which a long value goes on."""
    (following,) = _POINTER.unpack_from(page)
    return int(following)


def _head(pgno: int) -> int:
    return _FILE_HEADER_BYTES if pgno == 1 else 0


def _cells(page: bytes, head: int, header_bytes: int) -> tuple[int, ...]:
    """Return where the cells of a page begin; none if one cannot be there."""
    _, count = _NODE.unpack_from(page, head)
    first = head + header_bytes
    if first + 2 * count > len(page):
        return ()
    places = struct.unpack_from(f">{count}H", page, first)
    if any(not first <= place <= len(page) - _POINTER.size for place in places):
        return ()
    return places


def _varint(page: bytes, place: int) -> tuple[int, int]:
    """Return a number as SQLite writes it, the highest bits first, and what is behind it."""
    value = 0
    for byte in page[place : place + _VARINT_BYTES_MAX - 1]:
        place += 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, place
    return value, place + 1  # the ninth byte has eight bits: no size is that long
