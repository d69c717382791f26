"""
Which pages will be read next: guesses, so that many are fetched with one wait.

SQLite asks for one page after the other and does not say why. Three patterns give it away:

- pages in the order of their numbers: what was written in one go;
- children of one page of a tree, in their order: a table or an index that is read through,
  wherever in the file its pages are;
- a long value, which begins on a leaf and goes on elsewhere: how many pages it has is
  written where it begins, and whoever reads one reads those of the next rows too.

Whoever follows a pattern gets more each time. Pure: nothing is fetched here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from obelisk_ops.replica import trees

_START_BYTES = 8 * 1024
_MOST_BYTES = 1024 * 1024
_LONG_BYTES = 256 * 1024
#: Of so many pages is it remembered whose children they are.
_CHILDREN_MAX = 100_000


@dataclass(frozen=True, slots=True)
class _Run:
    """How far a pattern was followed: what comes next, and how much was fetched at once."""

    following: int = 0
    window: int = 0


class ReadAhead:
    """Watches the reads of one database."""

    def __init__(self, page_size: int, peek: Callable[[int], bytes | None]) -> None:
        """
        Know nothing yet.

        Args:
            page_size: Bytes of a page.
            peek: Returns a page if it was fetched already.
        """
        self._usable = page_size
        self._peek = peek
        self._start = max(1, _START_BYTES // page_size)
        self._most = max(1, _MOST_BYTES // page_size)
        self._long = max(1, _LONG_BYTES // page_size)
        self._children: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._parents: dict[int, tuple[int, int]] = {}
        self._in_file = _Run()
        self._in_trees: dict[int, _Run] = {}
        self._momentum = 0
        self._leaf = 0
        self._window = self._long

    def saw(self, pgno: int, page: bytes) -> None:
        """Remember the children of an inner page, and which leaf was read last."""
        if trees.is_leaf(pgno, page):
            self._leaf = pgno
            return
        if pgno in self._children:
            self._children.move_to_end(pgno)
            return
        if pgno == 1:
            self._usable = len(page) - trees.reserved(page)
        children = trees.children_of(pgno, page)
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
        if values := self._values_from(pgno):
            return values
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
            window, self._window = 1, self._long
        end = place + window
        self._in_trees[parent] = _Run(end, window)
        if window == 1:
            self._momentum = 0
        elif end >= len(children):
            self._momentum = window  # to be gone on with on the next branch of the tree
        return children[place:end]

    def _values_from(self, pgno: int) -> Sequence[int]:
        """Return the pages of a long value from *pgno* on, and of some values behind it."""
        pages: list[int] = []
        for first, count in self._long_values():
            if pages:
                pages += range(first, first + count)
            elif first <= pgno < first + count:
                pages += range(pgno, first + count)
            if len(pages) >= self._window:
                break
        if pages:
            self._window = min(4 * self._window, self._most)
        return pages[: self._most]

    def _long_values(self) -> Iterator[tuple[int, int]]:
        for leaf in self._leaves():
            page = self._peek(leaf)
            if page is None:
                return
            for first, count in trees.long_values(leaf, page, self._usable):
                yield first, count
                # Sometimes its first page lies apart, and only that one says from where.
                if (begin := self._peek(first)) is not None:
                    yield trees.next_of(begin), count - 1

    def _leaves(self) -> Iterator[int]:
        """Yield the leaf that was read last, and those behind it on the same branch."""
        yield self._leaf
        if self._leaf in self._parents:
            parent, place = self._parents[self._leaf]
            yield from self._children[parent][place + 1 :]

    def _forget(self, parent: int, children: Sequence[int]) -> None:
        self._in_trees.pop(parent, None)
        for child in children:
            if self._parents.get(child, (0, 0))[0] == parent:
                del self._parents[child]
