"""
One LTX file, of which only what is asked for is fetched.

A small file is fetched whole and proven. Of a large one its two ends are: the header, and
what the end holds of the index. The rest of the index is fetched in parts. Its entries
differ little in size, so where a page stands in it is guessed and read around the guess;
the next guess is between the two nearest pages that are known then.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.frames import (
    INDEX_TAIL_BYTES,
    Frame,
    LtxReader,
    Span,
    find_index,
    parse_index,
    parse_index_part,
)
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.replica.catalogue import LtxFile

_VARINT_BYTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """
    How much is fetched and kept; all in bytes.

    Attributes:
        replica: If all files together have no more, they are fetched whole, and proven.
        tail: What is fetched of the end of a file; so one that is no longer is fetched whole.
        part: What is fetched of an index at least, and ``part_max`` at most.
        cache: Pages that are kept.
    """

    replica: int = 8 * 1024 * 1024
    tail: int = 64 * 1024
    part: int = 8 * 1024
    part_max: int = 256 * 1024
    cache: int = 64 * 1024 * 1024


class Index:
    """Where the pages of one file are, as far as it was told. Fetches nothing itself."""

    def __init__(self, start: int, end: int, key: str, sizes: Sizes) -> None:
        """
        Know nothing yet.

        Args:
            start: Offset in the file of the first entry.
            end: Offset behind the last entry.
            key: The object, for messages.
            sizes: How much of it is fetched at once.
        """
        self._start, self._end, self._key, self._sizes = start, end, key, sizes
        self._spans: list[Span] = []
        self._known = 0

    @property
    def is_complete(self) -> bool:
        """Whether every entry is known."""
        return self._known == self._end - self._start

    @property
    def pages(self) -> list[int]:
        """The pages that it knows."""
        return [pgno for span in self._spans for pgno in span.pages]

    def find(self, pgno: int) -> Frame | None:
        """Return where a page is; None if the file does not hold it. See ``missing`` first."""
        place = self._place(pgno)
        return self._spans[place - 1].find(pgno) if place else None

    def missing(self, pgno: int, pages: int) -> tuple[int, int] | None:
        """
        Return which bytes of the file are to be learnt before a page can be found.

        Args:
            pgno: The page.
            pages: How many the database has; guesses are better for it.

        Returns:
            Offset of the first byte, and of the one behind the last; None if nothing is.
        """
        place = self._place(pgno)
        before, low, after, high = self._around(place, pages)
        if (place and pgno <= low) or before == after:
            return None
        frame = self._start / max(pages, 1)
        until, here, whole = (_written(n, frame) for n in (low, pgno, high))
        guess = before + round((after - before) * (here - until) / max(whole - until, 1))
        size = self._size(place, guess)
        if after - before <= 2 * size:
            return before, after
        begin = min(max(guess - size // 2, before), after - size)
        return begin, begin + size

    def learn(self, data: bytes, at: int) -> None:
        """
        Take in a part of the index that was ``missing``, or its end.

        Raises:
            DamagedObject: It cannot be what is there.
        """
        place = bisect_right([span.start for span in self._spans], at)
        before, low, _, high = self._around(place, 0)
        parse = parse_index if at == before else parse_index_part
        span = parse(data, at, self._key)
        outside = place < len(self._spans) and span.pages and span.pages[-1] >= high
        if not span.pages or outside or span.pages[0] <= low:
            raise ltx.damaged(self._key, f"its index is out of order at {at}")
        self._spans.insert(place, span)
        self._known += span.end - span.start

    def _size(self, place: int, guess: int) -> int:
        """Return how much to learn: more beside what is known than far away from it."""
        size = self._sizes.part
        for span in self._spans[max(place - 1, 0) : place + 1]:
            known = span.end - span.start
            if span.start - known <= guess < span.end + known:
                size = max(size, min(2 * known, self._sizes.part_max))
        return size

    def _place(self, pgno: int) -> int:
        return bisect_right(self._spans, pgno, key=_first_page)

    def _around(self, place: int, pages: int) -> tuple[int, int, int, int]:
        """Return where the gap before a span begins, behind which page, and where it ends."""
        before, low = self._start, 0
        if place:
            span = self._spans[place - 1]
            before, low = span.end, span.pages[-1]
        after, high = self._end, pages + 1
        if place < len(self._spans):
            span = self._spans[place]
            after, high = span.start, span.pages[0]
        return before, low, after, high


def _written(pgno: int, frame: float) -> float:
    """Return about how long an index up to a page is, if every frame has the same size."""
    # A varint of 7 * k bits or more has a byte more: numbers, offsets; sizes have two or so.
    longer = (pgno - (1 << 7 * k) / unit for unit in (1, frame) for k in range(_VARINT_BYTES))
    return 2.0 * pgno + sum(more for more in longer if more > 0)


def _first_page(span: Span) -> int:
    return span.pages[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """
    An opened file.

    Attributes:
        file: What the listing says of it.
        header: Its header.
        index: Where its pages are.
        body: All of it, if it was fetched whole and proven.
        fetched: Bytes that were fetched to open it.
    """

    file: LtxFile
    header: Header
    index: Index
    body: bytes | None
    fetched: int


def open_layer(
    store: ObjectStore, file: LtxFile, sizes: Sizes, *, is_whole: bool = False
) -> Layer:
    """
    Fetch a file whole if it is small, or *is_whole*, else its two ends.

    Raises:
        ObjectNotFound: It is gone.
        DamagedObject: It is no LTX file, or not the one that its name says.
    """
    if file.size < ltx.SMALLEST_FILE_BYTES:
        raise ltx.damaged(file.key, f"it ends after {file.size} bytes")
    tail_at = 0 if is_whole or file.size <= sizes.tail else file.size - sizes.tail
    tail = fetch(store, file, tail_at, file.size)
    head = fetch(store, file, 0, ltx.HEADER_BYTES) if tail_at else tail
    header = ltx.parse_header(head, file.key)
    name = ltx.Name(level=file.level, min_txid=file.min_txid, max_txid=file.max_txid)
    ltx.check_header(header, name, file.key)
    if not tail_at:
        for _ in LtxReader([tail], file.key).pages():
            pass  # which proves it
    start, end = find_index(tail[-INDEX_TAIL_BYTES:], file.size, file.key)
    index = Index(start, end, file.key, sizes)
    known = max(start, tail_at)
    if known < end:
        index.learn(tail[known - tail_at : end - tail_at], known)
    return Layer(
        file=file, header=header, index=index, body=None if tail_at else tail,
        fetched=len(tail) + (len(head) if tail_at else 0),
    )  # fmt: skip


def fetch(store: ObjectStore, file: LtxFile, begin: int, end: int) -> bytes:
    """
    Return bytes of a file.

    Raises:
        ObjectNotFound: It is gone.
        DamagedObject: It is not the one that was listed.
    """
    fetched: Fetched = store.get(file.key, first=begin, last=end - 1)
    if fetched.info.size != file.size or len(fetched.body) != end - begin:
        raise ltx.damaged(
            file.key, f"it has {fetched.info.size} bytes and was listed with {file.size}"
        )
    return fetched.body
