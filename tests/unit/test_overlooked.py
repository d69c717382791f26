"""Where the index of a write-ahead log ends, and whether a frame behind it counts."""

from __future__ import annotations

import struct

import pytest

from obelisk_ops.storage.sqlite.overlooked import is_of_this_log, next_frame_offset

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
