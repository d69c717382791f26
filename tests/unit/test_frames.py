"""The pages inside LTX files: where they are, and that no damage passes for a page."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.errors import DamagedObject
from obelisk_ops.litestream.frames import (
    INDEX_TAIL_BYTES,
    Frame,
    LtxReader,
    Span,
    decode_page,
    find_index,
    lock_page,
    parse_index,
    parse_index_part,
)
from tests.ltx import encode

KEY = "exp/run/e0001/0000/0000000000000003-0000000000000003.ltx"
SIZE = 512


def page(pgno: int, size: int = SIZE) -> bytes:
    """Return a page that is half noise: packed, it is shorter by about that half."""
    noise = random.Random(pgno).randbytes(size // 2)
    return noise + bytes(size - len(noise))


def some_pages(*pgnos: int) -> dict[int, bytes]:
    return {pgno: page(pgno) for pgno in pgnos}


SNAPSHOT = encode(some_pages(*range(1, 400)), commit=399)
CHANGES = encode(some_pages(1, 7, 8, 300), commit=300, first=3)


def in_parts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def index_of(data: bytes) -> tuple[Span, int]:
    start, end = find_index(data[-INDEX_TAIL_BYTES:], len(data), KEY)
    return parse_index(data[start:end], start, KEY), end


@pytest.mark.parametrize("data", [SNAPSHOT, CHANGES])
@pytest.mark.parametrize("part", [1, 1000, 10**6])
def test_a_file_is_read_from_front_to_back(data: bytes, part: int) -> None:
    reader = LtxReader(in_parts(data, part), KEY)

    pages = dict(reader.pages())

    assert pages == some_pages(*pages)
    assert max(pages) == reader.header.commit


@pytest.mark.parametrize("data", [SNAPSHOT, CHANGES])
def test_the_index_leads_to_every_page(data: bytes) -> None:
    span, end = index_of(data)

    assert span.end == end
    assert list(span.pages) == [pgno for pgno, _ in LtxReader([data], KEY).pages()]
    for pgno in span.pages:
        frame = span.find(pgno)
        assert frame is not None
        stored = data[frame.offset : frame.offset + frame.size]
        assert decode_page(stored, frame, SIZE, KEY) == page(pgno)
    assert span.find(0) is span.find(2**32 - 1) is None


def test_a_page_that_a_file_does_not_hold_is_not_found_in_it() -> None:
    span, _ = index_of(CHANGES)

    assert [pgno for pgno in range(302) if span.find(pgno)] == [1, 7, 8, 300]


@given(st.data())
def test_the_index_can_be_read_from_anywhere(data: st.DataObject) -> None:
    whole, _ = index_of(SNAPSHOT)
    begin = data.draw(st.integers(whole.start + 1, whole.end - 100))
    end = data.draw(st.integers(begin + 100, whole.end))

    part = parse_index_part(SNAPSHOT[begin:end], begin, KEY)

    assert begin <= part.start <= begin + 20
    assert end - 20 <= part.end <= end
    assert [part.find(n) for n in part.pages] == [whole.find(n) for n in part.pages]
    if part.end < whole.end:  # and what follows can be read on from there
        rest = parse_index(SNAPSHOT[part.end : whole.end], part.end, KEY)
        assert rest.pages[0] == part.pages[-1] + 1


@given(st.binary(max_size=400))
def test_nonsense_is_no_index(data: bytes) -> None:
    for parse in (parse_index, parse_index_part):
        try:
            span = parse(data, 100, KEY)
        except DamagedObject:
            continue
        assert list(span.pages) == sorted(set(span.pages))


def test_numbers_without_an_end_are_refused() -> None:
    with pytest.raises(DamagedObject, match="endless"):
        parse_index(b"\xff" * 100_000, 100, KEY)


@pytest.mark.parametrize("data", [encode(some_pages(1, 2), commit=2), CHANGES])
def test_no_flipped_bit_passes(data: bytes) -> None:
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        with pytest.raises(DamagedObject):
            list(LtxReader([bytes(broken)], KEY).pages())


@pytest.mark.parametrize("data", [SNAPSHOT, CHANGES])
def test_no_other_length_passes(data: bytes) -> None:
    for cut in (*range(0, len(data), 997), len(data) - 1):
        with pytest.raises(DamagedObject):
            list(LtxReader([data[:cut]], KEY).pages())
    with pytest.raises(DamagedObject):
        list(LtxReader([data, b"\0"], KEY).pages())


@pytest.mark.parametrize(
    ("pgnos", "commit", "first"),
    [
        ((2, 3), 3, 1),  # a snapshot begins with page 1
        ((1, 3), 3, 1),  # and leaves nothing out
        ((1, 2), 3, 1),  # and goes to the end
        ((1, 9), 8, 3),  # no file goes beyond it
    ],
)
def test_pages_that_cannot_be_there(pgnos: tuple[int, ...], commit: int, first: int) -> None:
    with pytest.raises(DamagedObject):
        list(LtxReader([encode(some_pages(*pgnos), commit=commit, first=first)], KEY).pages())


@pytest.mark.parametrize(
    ("page_size", "pgno"), [(512, 2097153), (1024, 1048577), (65536, 16385)]
)
def test_the_page_of_the_lock_is_left_out(page_size: int, pgno: int) -> None:
    assert lock_page(page_size) == pgno


FRAME = Frame(7, 0, 10 + 300)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(310),
        b"\0\0\0\7\0\1\0\0\1\x2c" + bytes(299),  # cut off
        b"\0\0\0\7\0\1\0\0\1\x2c" + bytes(300),  # no LZ4 block
        b"\0\0\0\x08\0\1\0\0\1\x2c" + bytes(300),  # another page
        b"\0\0\0\7\0\0\0\0\1\x2c" + bytes(300),  # another way to pack it
    ],
)
def test_what_is_no_frame_is_no_page(data: bytes) -> None:
    with pytest.raises(DamagedObject):
        decode_page(data, FRAME, SIZE, KEY)


def test_a_page_of_another_size_is_damage() -> None:
    data = encode({1: page(1, 1024)}, commit=1, first=2)
    span, _ = index_of(data)
    frame = span.find(1)
    assert frame is not None

    with pytest.raises(DamagedObject):
        decode_page(data[frame.offset : frame.offset + frame.size], frame, SIZE, KEY)


def test_an_index_that_cannot_be_there_is_damage() -> None:
    for size in (0, len(CHANGES), 2**63):
        bent = CHANGES[:-INDEX_TAIL_BYTES] + size.to_bytes(8, "big") + CHANGES[-16:]
        with pytest.raises(DamagedObject):
            find_index(bent[-INDEX_TAIL_BYTES:], len(bent), KEY)
