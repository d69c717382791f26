"""Asking for something costs the same, however much waits for the same execution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from obelisk_ops.storage import open_store
from obelisk_ops.storage.sqlite.connection import QUERIES

LOOKUPS = {
    "find_signal": (1, "s1"),
    "find_answer": (1, 3),
    "find_letters": ("a", '["cancel"]'),
    "find_signal_letter": ("a", "s1"),
    "letters_to": ("a", "a/", "a0"),
    "find_state": ("a",),
    "newest_link": ("a~", "a~:", 3),
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    open_store(tmp_path / "runs.db").close()
    with closing(apsw.Connection(str(tmp_path / "runs.db"))) as opened:
        yield opened


@pytest.mark.parametrize("name", LOOKUPS)
def test_what_is_looked_up_is_not_read_through(connection: apsw.Connection, name: str) -> None:
    plan = [
        str(detail)
        for *_, detail in connection.execute(
            f"EXPLAIN QUERY PLAN {QUERIES[name]}", LOOKUPS[name]
        )
    ]

    of_tables = [line for line in plan if "json_each" not in line and "VIRTUAL" not in line]
    assert any(line.startswith(("SEARCH", "MULTI-INDEX OR")) for line in of_tables), plan
    assert not any(line.startswith("SCAN") for line in of_tables), plan
    if name.startswith("find_") and name != "find_state":
        assert any("INDEX mailbox_target" in line or "INDEX inbox_" in line for line in plan)


def test_the_log_has_its_key_and_nothing_else(connection: apsw.Connection) -> None:
    assert connection.execute("PRAGMA index_list(log)").fetchall() == []
