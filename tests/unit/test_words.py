"""Words for people."""

from __future__ import annotations

import pytest

from obelisk_ops.core.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (11, "11 events")]
)
def test_one_is_not_several(number: int, text: str) -> None:
    assert counted(number, "event") == text
