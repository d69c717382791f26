"""Groups of every size are written whole, whatever number of statements that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.errors import VersionConflict
from obelisk_ops.storage.sqlite.store import SqliteStore


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 511, 512, 513, 1500])
def test_a_group_of_any_size_is_written(count: int, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    rows = [
        StateRow(key=key, id=f"e{key}", function="f", state=State.RUNNING, created_at=key)
        for key in range(1, count + 1)
    ]

    refused = store.commit(
        [Write(row.key, [(row.key, 0, 5, "created", "{}")], created=[row]) for row in rows]
    )

    assert not refused
    assert store.unfinished() == rows
    assert all(store.last(row.key).version == 0 for row in rows)
    store.close()


def test_of_a_big_group_only_the_guilty_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.commit([Write(700, [(700, 0, 5, "created", "{}")])])

    refused = store.commit(
        [Write(key, [(key, 0, 6, "created", "{}")]) for key in range(1, 1001)]
    )

    assert [(position, type(error)) for position, error in refused.items()] == [
        (699, VersionConflict)
    ]
    assert store.last(1000).at == 6
    assert store.last(700).at == 5
    store.close()
