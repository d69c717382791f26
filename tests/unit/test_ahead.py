"""Guessing which pages will be read next."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.replica import trees
from obelisk_ops.replica.ahead import ReadAhead
from obelisk_ops.replica.trees import children_of

SIZE = 1024


class Reader:
    """Reads pages as SQLite does, and counts how often it had to wait."""

    def __init__(self, page: Callable[[int], bytes], pages: int, size: int = SIZE) -> None:
        self._ahead = ReadAhead(size, self._peek)
        self._page, self._pages = page, pages
        self.there: set[int] = set()
        self.waits: list[int] = []

    def _peek(self, pgno: int) -> bytes | None:
        return self._page(pgno) if pgno in self.there else None

    def read(self, pgnos: Iterable[int]) -> None:
        for pgno in pgnos:
            if pgno not in self.there:
                wanted = self._ahead.wanted(pgno)
                assert wanted[0] == pgno
                self.there.update(n for n in wanted if 0 < n <= self._pages)
                self.waits.append(len(wanted))
            self._ahead.saw(pgno, self._page(pgno))


def inner(*children: int, size: int = SIZE, head: int = 0) -> bytes:
    """Return an inner page of a table with these children, the last one rightmost."""
    cells = len(children) - 1
    page = bytearray(size)
    struct.pack_into(">B2xH3xI", page, head, 5, cells, children[-1])
    for n, child in enumerate(children[:-1]):
        place = size - 8 * (n + 1)
        struct.pack_into(">H", page, head + 12 + 2 * n, place)
        struct.pack_into(">I", page, place, child)
    return bytes(page)


def leaf(_pgno: int) -> bytes:
    return b"\x0d" + bytes(SIZE - 1)


def test_pages_in_order_are_fetched_in_ever_longer_runs() -> None:
    reader = Reader(leaf, 10_000)

    reader.read(range(100, 3000))

    assert reader.waits[:5] == [8, 16, 32, 64, 128]
    assert max(reader.waits) == 1024, "and never more than a megabyte"


def test_pages_in_no_order_are_fetched_as_they_come() -> None:
    reader = Reader(leaf, 10**6)

    reader.read(random.Random(1).sample(range(10**6), 200))

    assert set(reader.waits) == {8}


def test_a_table_that_is_read_through_is_fetched_in_its_order_wherever_it_is() -> None:
    scattered = random.Random(2).sample(range(10, 10**6), 60)
    reader = Reader(lambda n: inner(*scattered) if n == 5 else leaf(n), 10**6)

    reader.read([5, *scattered])

    assert reader.waits == [8, 1, 8, 16, 32, 3]
    assert {5, *scattered} <= reader.there


def test_from_one_branch_it_goes_on_to_the_next() -> None:
    places = random.Random(3).sample(range(10, 10**6), 400)
    branches = {n + 2: places[n * 40 : (n + 1) * 40] for n in range(10)}
    trunk = inner(*branches)
    pages = {branch: inner(*leaves) for branch, leaves in branches.items()} | {12: trunk}
    reader = Reader(lambda n: pages.get(n, leaf(n)), 10**6)

    reader.read([12])
    for branch, leaves in branches.items():
        reader.read([branch, *leaves])

    assert len(reader.waits) < 20


def test_who_looks_up_single_rows_gets_single_pages() -> None:
    scattered = random.Random(4).sample(range(10, 10**6), 60)
    reader = Reader(lambda n: inner(*scattered) if n == 5 else leaf(n), 10**6)

    reader.read([5])
    reader.read(scattered[n] for n in (50, 3, 20, 7, 59))

    assert reader.waits == [8, 1, 1, 1, 1, 1]


def pages_of(folder: Path, values: list[str]) -> list[bytes]:
    """Return the pages of a database with these values in a table, whose root is page 2."""
    path = folder / "x.db"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA page_size=512; CREATE TABLE t (x)").fetchall()
    connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    connection.close()
    data = path.read_bytes()
    return [b"", *(data[at : at + 512] for at in range(0, len(data), 512))]


def test_a_real_tree(tmp_path: Path) -> None:
    pages = pages_of(tmp_path, ["x" * 400] * 50)

    found = children_of(2, pages[2])

    assert found == tuple(sorted(found))
    assert len(found) == 50
    assert all(trees.is_leaf(pgno, pages[pgno]) for pgno in found)


@pytest.mark.parametrize("size", [460, 473, 474, 475, 500, 976, 977, 978, 5000, 70_000])
def test_where_long_values_of_a_real_leaf_go_on(tmp_path: Path, size: int) -> None:
    pages = pages_of(tmp_path, ["é" * (size // 2) + "x" * (size % 2)] * 3)
    leaves = children_of(2, pages[2]) or (2,)

    for leaf in leaves:
        for first, count in trees.long_values(leaf, pages[leaf], 512):
            chain = [first]
            while following := trees.next_of(pages[chain[-1]]):
                chain.append(following)
            assert len(chain) == count


def test_long_values_are_fetched_whole_and_ever_more_of_them(tmp_path: Path) -> None:
    pages = pages_of(tmp_path, ["x" * 50_000] * 60)
    reader = Reader(pages.__getitem__, len(pages) - 1, size=512)
    reader.read([1, 2])
    leaves = children_of(2, pages[2])

    for leaf in leaves:
        reader.read([leaf])
        for first, count in trees.long_values(leaf, pages[leaf], 512):
            reader.read(range(first, first + count))

    assert len(reader.waits) < 30
    assert max(reader.waits) <= 2048, "a megabyte"


def test_a_value_whose_first_page_lies_apart(tmp_path: Path) -> None:
    pages = pages_of(tmp_path, ["x" * 50_000])
    (found,) = trees.long_values(2, pages[2], 512)
    first, count = found
    moved = dict(enumerate(pages)) | {900: pages[first]}
    begin = bytearray(pages[2])
    place = begin.rindex(first.to_bytes(4, "big"))
    begin[place : place + 4] = (900).to_bytes(4, "big")
    moved[2] = bytes(begin)
    reader = Reader(moved.__getitem__, 1000, size=512)

    reader.read([2, 900, *range(first + 1, first + count)])

    assert len(reader.waits) == 3


def test_the_first_page_has_the_head_of_the_file_before_its_tree() -> None:
    assert children_of(1, inner(7, 8, head=100)) == (7, 8)


@given(st.binary(min_size=512, max_size=512), st.integers(1, 9))
def test_nonsense_leads_nowhere(page: bytes, pgno: int) -> None:
    assert len(children_of(pgno, page)) <= 512


@pytest.mark.parametrize("kind", [2, 5])
def test_a_page_that_would_have_more_children_than_room_has_none(kind: int) -> None:
    assert children_of(2, bytes([kind, 0, 0, 255, 255]) + bytes(507)) == ()


def test_what_it_remembers_is_bounded() -> None:
    ahead = ReadAhead(65536, lambda _pgno: None)
    for pgno in range(1, 200):
        first = pgno * 5000
        ahead.saw(pgno, inner(*range(first, first + 5000), size=65536, head=100 * (pgno == 1)))

    assert len(ahead._parents) <= 100_000
    assert ahead.wanted(7 * 5000)[0] == 7 * 5000
