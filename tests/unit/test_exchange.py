"""What is noted of a database that is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from obelisk_ops.restore.exchange import exchange, note_of


def test_the_note_is_whole_however_little_the_disk_takes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it what was replaced could not be put back."""
    new, database, kept = tmp_path / "new", tmp_path / "a.db", tmp_path / ".a.db.replaced-1"
    new.write_bytes(b"new")
    database.write_bytes(b"old")
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:3]))

    exchange(new, database, kept=kept, what=b'{"name":"a"}', origin=b"{}")

    assert note_of(kept).read_bytes() == b'{"name":"a"}'
    assert (database.read_bytes(), kept.read_bytes()) == (b"new", b"old")
