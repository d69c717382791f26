"""Where the index of a write-ahead log ends, and whether a frame behind it counts."""

from __future__ import annotations

import struct

import pytest

from obelisk_ops.storage.sqlite.overlooked import (
    is_of_this_log,
    is_too_late,
    next_frame_offset,
)

SALTS = b"saltSALT"
LOG = struct.pack(">IIII8s8s", 0x377F0682, 3007000, 1024, 7, SALTS, b"checksum")


def index(frames: int) -> bytes:
    return struct.pack("=IIIBBHI", 3007000, 0, 1, 1, 0, 1024, frames).ljust(96, b"\0")


def frame(salts: bytes) -> bytes:
    return struct.pack(">II8s8s", 1, 1, salts, b"checksum")


@pytest.mark.parametrize(("frames", "offset"), [(0, 32), (1, 32 + 1048), (10, 32 + 10480)])
def test_the_next_frame(frames: int, offset: int) -> None:
    assert next_frame_offset(index(frames), LOG) == offset


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (frame(SALTS), True),
        (frame(b"OLDsalts"), False),  # of before the log was begun anew
        (frame(SALTS)[:23], False),  # cut off
        (b"", False),  # the log ends here
    ],
    ids=["of this log", "of an older log", "cut off", "none"],
)
def test_a_frame_behind_the_index(*, found: bytes, counts: bool) -> None:
    assert is_of_this_log(LOG, found) is counts


@pytest.mark.parametrize(
    ("frames", "last_page", "page_of_litestream", "late"),
    [
        pytest.param(9, 5, 3, False, id="the owner wrote last"),
        pytest.param(9, 3, 3, True, id="Litestream did"),
        pytest.param(0, 3, 3, True, id="it began the log anew, and got no further"),
        pytest.param(9, 3, None, False, id="it was never here"),
        pytest.param(0, 3, None, False, id="nobody was"),
    ],
)
def test_litestream_wrote_last(
    frames: int, last_page: int, page_of_litestream: int | None, *, late: bool
) -> None:
    last_frame = struct.pack(">II8s8s", last_page, 1, SALTS, b"checksum")

    assert is_too_late(index(frames), last_frame, page_of_litestream) is late
