"""Words for people."""

from __future__ import annotations

import pytest

from obelisk_ops.core.words import counted, format_size, parse_size


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (11, "11 events")]
)
def test_one_is_not_several(number: int, text: str) -> None:
    assert counted(number, "event") == text


@pytest.mark.parametrize(
    ("text", "size"), [("1KiB", 1 << 10), ("500MiB", 500 << 20), ("10GiB", 10 << 30)]
)
def test_amounts_of_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert format_size(size) == text


@pytest.mark.parametrize("text", ["", "10", "10GB", "1.5GiB", "-1MiB", "10 GiB"])
def test_what_is_no_amount_of_bytes(text: str) -> None:
    with pytest.raises(ValueError, match="500MiB"):
        parse_size(text)
