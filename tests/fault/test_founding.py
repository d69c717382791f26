"""A database is made by the first who submits to it, many at once and through deaths."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from obelisk_ops import Engine, workflow
from obelisk_ops.errors import DatabaseNotFound, ForeignDatabase, StorageUnavailable
from obelisk_ops.storage import make_if_missing, open_mailbox, open_reader
from obelisk_ops.storage.sqlite import beside
from tests.command import call, outcome, start
from tests.engines import until
from tests.support import PATIENCE_S

FLOWS = Path(__file__).with_name("flows.py")
MANY, ROUNDS = 6, 5


@workflow
async def flow(n: int) -> int:
    return n


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "new.db"


def test_what_is_submitted_to_a_new_file_is_done_by_the_first_worker(db: Path) -> None:
    async def submit() -> str:
        async with Engine(db, serve=False) as engine:
            handle = await engine.submit(flow, 7, id="first")
            assert [row.id for row in engine.list(state="pending")] == ["first"]
            return handle.id

    async def work() -> int:
        async with Engine(db, workflows=[flow]) as engine:
            await until(lambda: engine.find("first"), "it has begun")
            value: int = await engine.handle("first").result()
            return value

    assert asyncio.run(submit()) == "first"
    assert not beside.is_owned(db)
    assert asyncio.run(work()) == 7
    assert db.stat().st_mode & 0o777 == 0o600


def test_processes_that_submit_to_a_new_file_at_once(db: Path, tmp_path: Path) -> None:
    side = f'"{tmp_path / "side"}"'
    submits = [
        start("execution", "submit", f"{FLOWS}:steps", side, "1", "--db", db, "--id", f"n-{n}")
        for n in range(3)
    ]
    with start("worker", FLOWS, "--db", db) as worker:
        try:
            for n, submit in enumerate(submits):
                told = outcome(submit)
                assert told.status == 0, told.err
                assert told.json == {"execution_id": f"n-{n}", "created": True}
                asked = ("execution", "result", f"n-{n}", "--wait", "90", "--db", db)
                assert call(*asked).out == "0\n"
        finally:
            worker.terminate()
            worker.communicate(timeout=180)


def test_many_make_one_database(tmp_path: Path) -> None:
    with ThreadPoolExecutor(MANY) as pool:
        for round_ in range(ROUNDS):
            db, together = tmp_path / f"{round_}.db", threading.Barrier(MANY)

            def make(db: Path = db, together: threading.Barrier = together) -> str:
                together.wait(PATIENCE_S)
                make_if_missing(db)
                with closing(open_reader(db)) as reader:
                    return reader.meta()["database_id"]

            made = [pool.submit(make) for _ in range(MANY)]
            assert len({one.result(PATIENCE_S) for one in made}) == 1


def an_empty_file(db: Path) -> None:
    db.touch()


def a_file_without_tables(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA journal_mode = wal")


@pytest.mark.parametrize("left", [an_empty_file, a_file_without_tables])
def test_what_a_killed_one_left_is_made_whole(db: Path, left: Callable[[Path], None]) -> None:
    left(db)

    make_if_missing(db)

    with closing(open_reader(db)) as reader:
        assert reader.meta()["epoch"] == "1"


def test_what_is_not_ours_is_refused_and_kept(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE other (id)")
    before = db.read_bytes()

    make_if_missing(db)
    with pytest.raises(ForeignDatabase, match="another program"):
        open_mailbox(db)
    with pytest.raises(StorageUnavailable, match="cannot be made"):
        make_if_missing(db.parent / "no" / "new.db")

    assert db.read_bytes() == before


def test_only_a_submit_makes_one(db: Path) -> None:
    asked = call("execution", "cancel", "nobody", "--db", db, "--json")
    assert (asked.status, asked.error["code"]) == (7, "database_not_found")

    async def look() -> None:
        async with Engine(db, serve=False) as engine:
            with pytest.raises(DatabaseNotFound):
                _ = engine.list()

    asyncio.run(look())
    assert list(db.parent.iterdir()) == []
