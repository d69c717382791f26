"""
Which pages will be read next: guesses, so that many are fetched with one wait.

SQLite asks for one page after the other and does not say why. Two patterns give it away:

- pages in the order of their numbers: long values, and what was written in one go;
- children of one page of a tree, in their order: a table or an index that is read through,
  wherever in the file its pages are.

Whoever follows a pattern gets twice as much each time. Pure: nothing is fetched here.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

_START_BYTES = 8 * 1024
_MOST_BYTES = 1024 * 1024
#: Of so many pages is it remembered whose children they are.
_CHILDREN_MAX = 100_000

_INNER_KINDS = (2, 5)
_FILE_HEADER_BYTES = 100
_NODE = struct.Struct(">B2xH3xI")
_NODE_BYTES = 12
_CHILD = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class _Run:
    """How far a pattern was followed: what comes next, and how much was fetched at once."""

    following: int = 0
    window: int = 0


class ReadAhead:
    """Watches the reads of one database."""

    def __init__(self, page_size: int) -> None:
        self._start = max(1, _START_BYTES // page_size)
        self._most = max(1, _MOST_BYTES // page_size)
        self._children: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._parents: dict[int, tuple[int, int]] = {}
        self._in_file = _Run()
        self._in_trees: dict[int, _Run] = {}
        self._momentum = 0

    def saw(self, pgno: int, page: bytes) -> None:
        """Remember the children of an inner page."""
        if pgno in self._children:
            self._children.move_to_end(pgno)
            return
        children = children_of(pgno, page)
        if not children:
            return
        self._children[pgno] = children
        self._parents.update({child: (pgno, n) for n, child in enumerate(children)})
        while len(self._parents) > _CHILDREN_MAX:
            self._forget(*self._children.popitem(last=False))

    def wanted(self, pgno: int) -> Sequence[int]:
        """Return the pages to fetch when *pgno* is asked for and not there; it is the first."""
        if pgno in self._parents:
            return self._siblings(*self._parents[pgno])
        before = self._in_file
        # What is in between may be there already, as what belongs to a tree.
        is_next = before.following <= pgno <= before.following + before.window
        window = min(2 * before.window, self._most) if is_next else self._start
        self._in_file = _Run(pgno + window, window)
        return range(pgno, pgno + window)

    def _siblings(self, parent: int, place: int) -> Sequence[int]:
        children = self._children[parent]
        before = self._in_trees.get(parent, _Run())
        if place == before.following > 0:
            window = min(max(2 * before.window, self._start), self._most)
        elif place == 0:
            window = max(self._momentum, 1)
        else:
            window = 1
        end = place + window
        self._in_trees[parent] = _Run(end, window)
        if window == 1:
            self._momentum = 0
        elif end >= len(children):
            self._momentum = window  # to be gone on with on the next branch of the tree
        return children[place:end]

    def _forget(self, parent: int, children: Sequence[int]) -> None:
        self._in_trees.pop(parent, None)
        for child in children:
            if self._parents.get(child, (0, 0))[0] == parent:
                del self._parents[child]


def children_of(pgno: int, page: bytes) -> tuple[int, ...]:
    """Return the pages below an inner page of a tree, in their order; none if it is none."""
    head = _FILE_HEADER_BYTES if pgno == 1 else 0
    kind, cells, last = _NODE.unpack_from(page, head)
    pointers = head + _NODE_BYTES
    if kind not in _INNER_KINDS or pointers + 2 * cells > len(page):
        return ()
    places = struct.unpack_from(f">{cells}H", page, pointers)
    if any(not pointers <= place <= len(page) - _CHILD.size for place in places):
        return ()
    return (*(_CHILD.unpack_from(page, place)[0] for place in places), last)
