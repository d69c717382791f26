"""
Between any two statements of any transaction: a death, a full disk, a broken one.

The program makes children, timers, signals, stubs, cancels, successors: all transactions
that write to more than one table.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.durable import commits
from obelisk_ops.storage import Address
from obelisk_ops.testing import EngineForTests
from tests.engines import the_tables_fit_the_logs
from tests.fault.test_engine_programs import play, store_of
from tests.model import expected
from tests.programs import FLOWS, Program

PROGRAM: Program = [
    ["receive"], ["child", [["call", 1], ["sleep", 3]]], ["drop", 1], ["undo", 2], ["count", 2],
    ["schedule", [["call", 1]]], ["race", "hang", [["stub", 1]]],
    ["all", [[["call", 1]], [["thread", 2]]]], ["late", [["call", 1]]],
]  # fmt: skip
WRITES = ("BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SAVEPOINT")


class Traced(EngineForTests):
    """Tells of each statement that writes, before it is executed."""

    def __init__(self, database: Path, before: Callable[[str], None]) -> None:
        super().__init__(database, workflows=FLOWS, patience=20)
        self._before = before

    def _open(self, address: Address) -> ArchiveStore:
        store: Any = super()._open(address)
        store._connection.exec_trace = self._trace
        return store  # type: ignore[no-any-return]

    def _trace(self, _cursor: object, sql: str, _bindings: object) -> bool:
        words = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
        if words.strip().upper().startswith(WRITES):
            self._before(words.split()[0].upper())
        return True


def run(database: Path, before: Callable[[str], None]) -> None:
    async def main() -> None:
        async with Traced(database, before) as engine:
            assert await play(engine, PROGRAM) == expected("p", PROGRAM)
            the_tables_fit_the_logs(store_of(engine))

    asyncio.run(main())


def go_on(database: Path) -> None:
    """Take up what a death has left, and bring it to its end."""

    async def main() -> None:
        async with EngineForTests(database, workflows=FLOWS, patience=20) as engine:
            the_tables_fit_the_logs(store_of(engine))
            assert await play(engine, PROGRAM) == expected("p", PROGRAM)
            the_tables_fit_the_logs(store_of(engine))

    asyncio.run(main())


def test_a_death_between_any_two_statements(tmp_path: Path) -> None:
    images: dict[str, Path] = {}
    inside: list[str] = []

    def before(word: str) -> None:
        parts = [p for p in (database, wal) if p.exists()]
        image = sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
        if word == "BEGIN":
            inside[:] = [image]
        elif inside:
            assert image == inside[0], "the middle of a transaction can be seen"
        if word == "COMMIT":
            inside.clear()
        if image not in images:
            images[image] = tmp_path / str(len(images))
            images[image].mkdir()
            for part in parts:
                shutil.copy(part, images[image])

    database = tmp_path / "s.db"
    wal = database.with_name("s.db-wal")
    run(database, before)

    assert len(images) > 10
    for folder in images.values():
        go_on(folder / database.name)


@pytest.mark.parametrize("code", [apsw.SQLITE_FULL, apsw.SQLITE_IOERR, apsw.SQLITE_BUSY])
def test_an_error_of_any_statement(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again: nothing is lost, nothing half done."""
    monkeypatch.setattr(commits, "_RETRY_S", 0.001)
    words: list[str] = []
    run(tmp_path / "counted.db", words.append)
    assert len(words) > 60

    for which in range(0, len(words), 5):
        left = [which + code % 5]

        def fail_once(_word: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise apsw.exception_for(code)

        run(tmp_path / f"{which}.db", fail_once)
