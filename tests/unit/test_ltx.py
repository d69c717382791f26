"""Names, headers and trailers of LTX files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.errors import DamagedObject
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.ltx import Name

KEY = "exp/run/e0001/0000/0000000000000003-0000000000000003.ltx"
#: the beginning and the end of a file that Litestream 0.5.17 wrote
HEADER = bytes.fromhex(
    "4c545831000000020000040000000027000000000000000300000000000000030000019faad59ecd"
    "000000000000000000000000000030380000000000003038e72faa7a1bce0ba90000000000000000"
    "0000000000000000000000000000000000000000"
)
TRAILER = bytes.fromhex("0000000000000000c0ffee00c0ffee00")

NAMES = [
    ("0000/0000000000000007-0000000000000009.ltx", Name(level=0, min_txid=7, max_txid=9)),
    ("0009/0000000000000001-00000000000000ec.ltx", Name(level=9, min_txid=1, max_txid=236)),
]
NOT_NAMES = [
    "",
    "0000/",
    "0000/0000000000000007-0000000000000009.ltx.tmp",
    "0000/7-9.ltx",
    "0000/0000000000000009-0000000000000007.ltx",
    "0000/0000000000000000-0000000000000007.ltx",
    "0000/000000000000000A-000000000000000B.ltx",
    "generations/0123456789abcdef/snapshots/00000000.snapshot.lz4",
    "x/0000/0000000000000007-0000000000000009.ltx",
]


@pytest.mark.parametrize(("key", "name"), NAMES)
def test_reads_names(key: str, name: Name) -> None:
    assert ltx.parse_name(key) == name
    assert ltx.file_name(name) == key


@pytest.mark.parametrize("key", NOT_NAMES)
def test_knows_what_is_not_a_name(key: str) -> None:
    assert ltx.parse_name(key) is None


def test_reads_a_header_that_litestream_wrote() -> None:
    header = ltx.parse_header(HEADER, KEY)

    assert (header.min_txid, header.max_txid) == (3, 3)
    assert header.page_size == 1024
    assert header.database_bytes == header.commit * 1024
    assert header.timestamp_ms == 0x19FAAD59ECD


def change(data: bytes, at: int, to: bytes) -> bytes:
    return data[:at] + to + data[at + len(to) :]


BROKEN = [
    # what                       bytes                                 message says
    ("empty",                    b"",                                  "ends after 0 bytes"),
    ("cut",                      HEADER[:99],                          "ends after 99 bytes"),
    ("other magic",              change(HEADER, 0, b"LTX2"),           "does not begin like"),
    ("page size",                change(HEADER, 10, b"\x05"),          "page size of 1280"),
    ("no first transaction",     change(HEADER, 23, b"\x00"),          "transactions 0 to 3"),
    ("last before first",        change(HEADER, 31, b"\x02"),          "transactions 3 to 2"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "says"), [c[1:] for c in BROKEN], ids=[c[0] for c in BROKEN])
def test_names_the_damaged_object(data: bytes, says: str) -> None:
    with pytest.raises(DamagedObject) as refusal:
        ltx.parse_header(data, KEY)

    assert says in refusal.value.message
    assert KEY in refusal.value.message


def test_a_header_must_fit_its_name() -> None:
    header = ltx.parse_header(HEADER, KEY)

    ltx.check_header(header, Name(level=0, min_txid=3, max_txid=3), KEY)
    with pytest.raises(DamagedObject, match="transactions 3 to 3"):
        ltx.check_header(header, Name(level=0, min_txid=3, max_txid=4), KEY)


def test_reads_trailers() -> None:
    assert ltx.parse_trailer(TRAILER, KEY).file_checksum == 0xC0FFEE00C0FFEE00
    for broken in (b"", TRAILER[1:], bytes(16)):
        with pytest.raises(DamagedObject):
            ltx.parse_trailer(broken, KEY)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_damaged(data: bytes) -> None:
    try:
        header = ltx.parse_header(data, KEY)
    except DamagedObject:
        return
    assert 0 < header.min_txid <= header.max_txid
