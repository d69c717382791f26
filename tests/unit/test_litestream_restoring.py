# ruff: noqa: E501 - tables are read by their columns
"""What Litestream's words mean; each text was said by version 0.5.17."""

from __future__ import annotations

import pytest

from obelisk_ops.litestream.restoring import Trouble, obtained_txid, read_failure

SAID = [
    # words                                                                         trouble                 input
    ("decode database: decode header: decode header for input 2: unmarshal header: invalid LTX file", Trouble.DAMAGED, 2),
    ("decode database: decode page 1: read page header 2: decompress block: lz4: invalid source or destination buffer too short", Trouble.DAMAGED, 2),
    ("decode database: unexpected error decoding after end of database: close reader 2: file checksum mismatch", Trouble.DAMAGED, 2),
    ("decode database: decode header: non-contiguous transaction ids in input files: (0000000000000003,0000000000000103) -> (0000000000000004,0000000000000004)", Trouble.DAMAGED, None),
    ("decode database: decode page 34: read page header 12: read compressed data: unexpected EOF", Trouble.DAMAGED, 12),
    ("invalid ltx file: level=0 min=0000000000000003 max=0000000000000003 has size 50 bytes (minimum 100)", Trouble.DAMAGED, None),
    ("nonsequential page numbers in snapshot transaction: 94,120", Trouble.DAMAGED, None),
    ("no matching backup files available", Trouble.MISSING, None),
    ("cannot calc restore plan: non-contiguous ltx files: have up to 3 but next file starts at 5", Trouble.MISSING, None),
    ("operation error S3: GetObject, https response error StatusCode: 404, NoSuchKey", Trouble.MISSING, None),
    ("write /x/.run.tmp: no space left on device", Trouble.DISK, None),
    ("decode database: write page 7: write /x/.run.tmp: file too large", Trouble.DISK, None),
    ("operation error S3: ListObjectsV2, StatusCode: 404, NoSuchBucket", Trouble.BUCKET, None),
    ("operation error S3: ListObjectsV2, SignatureDoesNotMatch", Trouble.CREDENTIALS, None),
    ("exceeded maximum number of attempts, 10, dial tcp 127.0.0.1:9: connect: connection refused", Trouble.UNREACHABLE, None),
    ("decode database: decode page 2: read page header 0: read compressed data: max retries exceeded reading ltx file (level=0, min=0000000000000001, max=0000000000000001, offset=600): read tcp 127.0.0.1:43488->127.0.0.1:52347: read: connection reset by peer", Trouble.UNREACHABLE, None),
    ("decode database: decode page 2: read page header 0: read compressed data: max retries exceeded reading ltx file (level=0, min=0000000000000001, max=0000000000000001, offset=600): unexpected EOF", Trouble.UNREACHABLE, None),
    ("something that nobody has seen", Trouble.UNKNOWN, None),
    ("", Trouble.UNKNOWN, None),
]  # fmt: skip


@pytest.mark.parametrize(("said", "trouble", "place"), SAID, ids=[c[0][:40] for c in SAID])
def test_failure(said: str, trouble: Trouble, place: int | None) -> None:
    failure = read_failure(f"time=… level=INFO msg=litestream\nError: {said}\n\n")

    assert (failure.trouble, failure.input) == (trouble, place)
    assert failure.said == said or not said


def test_the_transaction_that_was_obtained() -> None:
    said = 'time=… msg="a line"\n{\n  "db_path": "/x",\n  "txid": "00000000000000ec"\n}\n'

    assert obtained_txid(said) == 236
    for nothing in ("", "{}", "no json", '{"txid": "zz"}', '{"txid": 7}'):
        assert obtained_txid(nothing) is None
