# ruff: noqa: E501 - tables are read by their columns
"""Looking into databases of every condition, and finding them unchanged afterwards."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from obelisk_ops.errors import (
    CorruptDatabase,
    DatabaseNotFound,
    OpsError,
    Unproven,
    VerificationFailed,
)
from obelisk_ops.inspect.opening import View, find_view, open_read_only
from obelisk_ops.inspect.summary import summarise
from obelisk_ops.restore.check import check_copy
from obelisk_ops.storage.sqlite.connection import APPLICATION_ID
from tests.commands import Commands
from tests.replicas import make_workflow_tables


def new_database(path: Path, *, wal: bool = True) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA page_size=1024")
    if wal:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "db" / "run.db"
    path.parent.mkdir()
    connection = new_database(path)
    make_workflow_tables(connection)
    connection.close()
    return path


def prints(folder: Path) -> dict[str, tuple[str, int]]:
    """Return every file with a digest of its content, and when it was written."""
    return {
        entry.name: (
            hashlib.sha256(entry.read_bytes()).hexdigest(), entry.stat().st_mtime_ns
        )
        for entry in folder.iterdir()
    }  # fmt: skip


def test_summary_of_a_workflow_database(workflow: Path) -> None:
    summary = summarise(workflow)

    assert (summary.kind, summary.schema_version, summary.epoch) == ("workflow", 1, 1)
    assert summary.database_id == "ab" * 16
    assert summary.executions == {"finished": 2, "running": 1, "parked": 1}
    assert summary.results == {"ok": 1, "error": 1}
    assert summary.functions == {
        "shop.fulfil": {"finished": 2}, "shop.sweep": {"parked": 1, "running": 1},
    }  # fmt: skip
    failures = [
        (f.execution_id, f.function, f.error_type, f.message, f.at_ms) for f in summary.failures
    ]
    assert failures == [
        ("bad", "shop.fulfil", "shop.Declined", "no", 6000),
        ("stuck", "shop.sweep", "Nondeterminism", "other code", 4100),
    ]
    in_flight = [(c.execution_id, c.activity, c.attempt, c.since_ms) for c in summary.in_flight]
    assert in_flight == [("busy", "shop.train", 2, 3400), ("busy", "shop.score", 1, 3170)]
    assert summary.last_event_ms == 6000


@pytest.mark.behaviour("O55")
def test_a_database_at_rest_is_not_touched(workflow: Path) -> None:
    before = prints(workflow.parent)
    assert find_view(workflow) is View.IMMUTABLE

    summarise(workflow)

    assert prints(workflow.parent) == before
    assert list(before) == ["run.db"]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another process that has written and holds the database open."""
    path = tmp_path / "db" / "live.db"
    path.parent.mkdir()
    code = (
        "import apsw, sys; c = apsw.Connection(sys.argv[1]);"
        "c.execute('PRAGMA journal_mode=wal'); c.execute('PRAGMA wal_autocheckpoint=0');"
        "c.execute('CREATE TABLE t (x)'); c.execute('INSERT INTO t VALUES (1), (2), (3)');"
        "print('up', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    yield child, path
    child.kill()
    child.communicate()


def test_a_live_database_is_read_beside_its_owner(
    writer: tuple[subprocess.Popen[bytes], Path],
) -> None:
    _child, path = writer
    names = set(prints(path.parent))
    assert find_view(path) is View.SHARED

    (table,) = summarise(path).tables

    assert (table.name, table.rows) == ("t", 3)
    assert set(prints(path.parent)) == names


@pytest.mark.parametrize("lost", [[], ["-shm"]])
def test_what_a_killed_process_left_is_read_and_left(
    writer: tuple[subprocess.Popen[bytes], Path], lost: list[str]
) -> None:
    child, path = writer
    child.send_signal(signal.SIGKILL)
    child.wait()
    for suffix in lost:
        path.with_name(path.name + suffix).unlink()
    before = prints(path.parent)
    assert find_view(path) is View.PRIVATE

    (table,) = summarise(path).tables

    assert table.rows == 3, "rows that were only in the -wal file are seen"
    assert prints(path.parent) == before


def test_a_database_that_this_process_has_open_stays_locked(tmp_path: Path) -> None:
    """Closing any descriptor of a file gives up the locks of the whole process."""
    path = tmp_path / "mine.db"
    mine = new_database(path)
    mine.execute("CREATE TABLE t (x)")
    mine.execute("BEGIN IMMEDIATE")

    assert find_view(path) is View.SHARED
    summarise(path)

    code = "import apsw, sys; apsw.Connection(sys.argv[1]).execute('BEGIN IMMEDIATE')"
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "BusyError" in other.stderr
    mine.close()


def test_a_database_with_a_rollback_journal(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    connection = new_database(folder / "plain", wal=False)
    connection.execute('CREATE TABLE "odd "" name" (x)')
    connection.close()
    before = prints(folder)

    summary = summarise(folder / "plain")

    assert [(t.name, t.rows, t.size) for t in summary.tables] == [('odd " name', 0, 1024)]
    assert prints(folder) == before


def test_a_later_schema_is_told_and_not_read(workflow: Path) -> None:
    connection = new_database(workflow)
    connection.execute("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    connection.execute("DROP TABLE inbox")
    connection.close()

    summary = summarise(workflow)

    assert (summary.schema_version, summary.executions) == (7, {})


def damaged(workflow: Path, how: str) -> None:
    data = bytearray(workflow.read_bytes())
    if how == "page":
        data[3 * 1024 : 4 * 1024] = b"\xa5" * 1024
    elif how == "cut":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "text":
        data = bytearray(b"this is no database\n" * 100)
    workflow.write_bytes(data)


@pytest.mark.parametrize("how", ["page", "cut", "empty", "text"])
def test_damage_is_named(workflow: Path, how: str) -> None:
    damaged(workflow, how)
    before = prints(workflow.parent)

    ran = Commands(workflow.parent / "no.yml").run("inspect", workflow, "--json")

    assert (ran.status, ran.error["code"]) == (10, "corrupt_database")
    assert ran.out == ""
    assert prints(workflow.parent) == before


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    ran = Commands(tmp_path / "no.yml").run("inspect", tmp_path / "x.db", "--json")

    assert (ran.status, ran.error["code"]) == (7, "database_not_found")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatabaseNotFound):
        summarise(tmp_path)


def test_the_command_tells_people_and_scripts(workflow: Path) -> None:
    commands = Commands(workflow.parent / "no.yml")

    told = commands.run("inspect", workflow, "--json").told
    seen = commands.run("inspect", workflow).out

    assert told["path"] == str(workflow)
    assert told["failures"][0] == {
        "execution_id": "bad", "function": "shop.fulfil",
        "error": {"type": "shop.Declined", "message": "no"}, "at": "1970-01-01T00:00:06.000Z",
    }  # fmt: skip
    assert told["in_flight"][0]["activity"] == "shop.train"
    assert told["in_flight"][0]["try"] == 2
    assert told["in_flight"][0]["since"] == "1970-01-01T00:00:03.400Z"
    first, *_, last = seen.splitlines()
    assert first.startswith(f"{workflow}: workflow database, schema 1, epoch 1, ")
    assert last.startswith("last event 1970-01-01T")
    assert "shop.Declined" in seen
    assert "shop.train" in seen


HOSTILE = {
    "state is an endless view": """
        DROP TABLE state;
        CREATE VIEW state AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
            SELECT i AS key, i AS id, i AS function, 'x' AS state, 'error' AS result,
                   i AS created_at, i AS finished_at, i AS error FROM n;
    """,
    "a log that is no JSON": "UPDATE log SET body = 'oops' WHERE execution = 3;",
    "columns of another program": "ALTER TABLE state RENAME COLUMN function TO fn;",
    "a time that is text": "DROP TABLE state; CREATE TABLE state AS SELECT 1 AS key, 'a' AS id;",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.fault(34)
def test_a_hostile_database_is_harmless(workflow: Path, name: str) -> None:
    """It ends in time, with an error of ours or an answer, and nothing was written."""
    connection = apsw.Connection(str(workflow))
    connection.execute(HOSTILE[name])
    connection.close()
    before = prints(workflow.parent)
    began = time.monotonic()

    try:
        summarise(workflow, limit_s=2)
    except OpsError as error:
        assert error.exit_status in {4, 10}  # noqa: PT017 - an answer is as good

    assert time.monotonic() - began < 90
    assert prints(workflow.parent) == before


def test_no_statement_outlives_its_time(workflow: Path) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )

    with pytest.raises(Unproven), open_read_only(workflow, limit_s=0.3) as connection:
        connection.execute(endless).fetchall()


def test_nothing_can_be_written_or_reached(workflow: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    shutil.copy(workflow, other)
    for statement in ("DELETE FROM log", f"ATTACH '{other}' AS o", "PRAGMA writable_schema=1"):
        try:
            with open_read_only(workflow, limit_s=2) as connection:
                connection.execute(statement).fetchall()
                left = connection.execute("SELECT count(*) FROM log").fetchall()
                assert left == [(17,)]
                assert [d[1] for d in connection.execute("PRAGMA database_list")] == ["main"]
        except OpsError as error:
            assert not isinstance(error, CorruptDatabase)  # noqa: PT017


def test_a_missing_version_is_found(workflow: Path) -> None:
    check_copy(workflow)
    connection = new_database(workflow)
    connection.execute("DELETE FROM log WHERE execution = 2 AND version = 0")
    connection.close()

    with pytest.raises(VerificationFailed, match="incomplete logs"):
        check_copy(workflow)


@pytest.mark.fault(34)
@pytest.mark.skipif(sys.platform != "linux", reason="not on this platform: limits of memory")
def test_a_value_that_is_too_large_does_not_take_all_memory(workflow: Path) -> None:
    connection = new_database(workflow)
    connection.pragma("application_id", APPLICATION_ID)
    connection.execute("UPDATE log SET body = replace(hex(zeroblob(50000000)), '0', 'x')"
                       " WHERE execution = 3 AND version = 0")  # fmt: skip
    connection.close()
    commands = Commands(workflow.parent / "no.yml")

    ran = commands.run(
        "execution", "show", "busy", "--db", workflow, "--memory", "150MiB", "--json"
    )

    assert (ran.status, ran.error["code"]) == (4, "limit_exceeded")
    assert "--memory" in ran.error["hint"]
