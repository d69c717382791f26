"""What of Litestream's log is news."""

from __future__ import annotations

import pytest

from obelisk_ops.supervise.child import Said, noteworthy


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"level":"INFO","msg":"snapshot complete"}', None),
        ('{"level":"INFO","msg":"starting compaction monitor","level":1}', None),
        (
            '{"level":"ERROR","msg":"sync error","db":"a.db","error":"disk full"}',
            Said(words="sync error: disk full", database="a.db"),
        ),
        ('{"level":"WARN","msg":"careful"}', Said(words="careful")),
        ("Error: cannot open", Said(words="Error: cannot open")),
        ("SDK 2026/11/22 WARN Response has no checksum", None),
        ("", None),
    ],
)
def test_routine_of_litestream_is_not_repeated(line: str, said: Said | None) -> None:
    assert noteworthy(line) == said
