"""Commands that read, on databases that are made to do harm: one clear error, and in time."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import apsw
import psutil
import pytest

from obelisk_ops.storage.sqlite.connection import APPLICATION_ID
from obelisk_ops.supervise.identity import database_id
from tests.command import start
from tests.commands import Commands, Ran
from tests.replicas import make_workflow_tables
from tests.support import PATIENCE_S, crash_here, wait_until

pytestmark = pytest.mark.fault(34)

#: An endless loop that looks at no clock: one instruction of SQLite compares for years.
SPINS = "instr(hex(zeroblob(10000000)), hex(zeroblob(500000)) || '1')"
#: A column that is computed when it is read. In a strict table it would be computed here.
COMPUTED = """
    CREATE TABLE other AS SELECT * FROM state;
    ALTER TABLE other DROP COLUMN error;
    ALTER TABLE other ADD COLUMN error TEXT AS ({error});
    DROP TABLE state;
    ALTER TABLE other RENAME TO state;
"""
READS = [
    ("inspect", "{db}"),
    ("execution", "list", "--db", "{db}"),
    ("execution", "show", "busy", "--db", "{db}"),
    ("execution", "events", "busy", "--db", "{db}"),
    ("execution", "why", "busy", "--db", "{db}"),
    ("execution", "report", "busy", "--db", "{db}", "-o", "-"),
    ("execution", "diff", "busy", "good", "--db", "{db}"),
]
HOSTILE = {
    "an endless view": """
        DROP TABLE state;
        CREATE VIEW state AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
            SELECT i AS key, 'busy' AS id, NULL AS parent, NULL AS parent_n, 'f' AS function,
                   'running' AS state, NULL AS result, 1 AS created_at, NULL AS finished_at,
                   NULL AS error FROM n;
    """,
    "triggers that grow": """
        CREATE TRIGGER grow AFTER INSERT ON state BEGIN
            INSERT INTO log SELECT key + (1 << 32), at, kind, body FROM log;
        END;
    """,
    "a column of a gigabyte": COMPUTED.format(error="hex(zeroblob(499000000))"),
    "JSON without end": """
        UPDATE log SET body = '{"fn":"shop.sweep","in":' || printf('%.200000c', '[')
            || printf('%.200000c', ']') || '}' WHERE key = (3 << 32);
    """,
    "numbers without end": """
        UPDATE log SET body = '{"n":1' || printf('%.5000c', '0') || '}'
        WHERE key = (3 << 32) + 1;
    """,
    "a log of blobs": "UPDATE log SET kind = 'returned', body = '{\"n\":[]}';",
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "db" / "run.db"
    path.parent.mkdir()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA page_size=1024")
    make_workflow_tables(connection)
    connection.pragma("application_id", APPLICATION_ID)
    connection.close()
    return path


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "no.yml")


def change(path: Path, statements: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statements)
    connection.close()


def print_of(path: Path) -> tuple[list[str], str, int]:
    """Return what is beside a file, and what is in it since when."""
    names = sorted(entry.name for entry in path.parent.iterdir())
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return names, content, path.stat().st_mtime_ns


def ends_well(ran: Ran) -> None:
    """Hold a command to its contract: an answer, or one error of ours that says what."""
    assert ran.status in {0, 3, 4, 7, 10}, ran.err
    assert "Traceback" not in ran.err
    if ran.status:
        assert ran.error["code"] != "internal", ran.err


@pytest.mark.parametrize("name", HOSTILE)
def test_every_command_ends_well(database: Path, commands: Commands, name: str) -> None:
    change(database, HOSTILE[name])
    before = print_of(database)

    for argv in READS:
        words = [word.format(db=database) for word in argv]
        form = () if "-o" in words else ("--json",)
        began = time.monotonic()
        ran = commands.run(*words, "--within", "500ms", "--memory", "200MiB", *form)
        assert time.monotonic() - began < 90
        if form:
            ends_well(ran)
        assert ran.status in {0, 3, 4, 7, 10}, ran.err

    assert print_of(database) == before


@pytest.mark.parametrize("seed", range(6))
def test_pages_at_random(database: Path, commands: Commands, seed: int) -> None:
    """Bytes that nobody wrote, wherever they are: never a crash, and never a wrong ``ok``."""
    draw = Random(seed)
    data = bytearray(database.read_bytes())
    for _ in range(8):
        place = draw.randrange(1024, len(data))
        data[place : place + 4] = draw.randbytes(4)
    database.write_bytes(data)
    before = print_of(database)

    for argv in READS[:4]:
        words = [word.format(db=database) for word in argv]
        ends_well(commands.run(*words, "--within", "2s", "--json"))

    assert print_of(database) == before, f"{seed=}"


def test_what_no_clock_reaches_is_ended_by_the_kernel(
    database: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obelisk_ops.process.apart.GRACE_S", 0.0)
    change(database, COMPUTED.format(error=SPINS))

    ran = commands.run("execution", "list", "--db", database, "--within", "100ms", "--json")

    assert (ran.status, ran.error["code"]) == (4, "limit_exceeded")
    assert str(database) in ran.error["message"]
    assert "processor time" in ran.error["message"]
    assert "--within" in ran.error["hint"]


def test_a_crash_is_told_by_who_is_left(
    database: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obelisk_ops.inspect.opening.find_view", crash_here)

    ran = commands.run("inspect", database, "--json")

    assert (ran.status, ran.error["code"]) == (4, "reader_crashed")
    assert ran.error["message"] == f"the process that read {database} crashed (SIGSEGV)"


@pytest.mark.skipif(sys.platform != "linux", reason="not on this platform: limits of memory")
def test_memory_has_a_limit_and_an_option(database: Path, commands: Commands) -> None:
    change(database, COMPUTED.format(error="hex(zeroblob(30000000))"))
    asked = ("execution", "list", "--db", database, "--json", "--limit", "1")

    refused = commands.run(*asked, "--memory", "50MiB")
    shown = commands.run(*asked, "--memory", "1GiB")

    assert (refused.status, refused.error["code"]) == (4, "limit_exceeded")
    assert "--memory" in refused.error["hint"]
    assert len(shown.told["executions"][0]["error"]) == 60_000_000


COMPUTED_META = """
    DROP TABLE meta;
    CREATE TABLE meta (key TEXT, value TEXT AS (hex(zeroblob({bytes}))));
    INSERT INTO meta (key) VALUES ('schema_version'), ('database_id');
"""


@pytest.mark.parametrize(("size", "has_id"), [(16, True), (60_000, False), (10**8, False)])
def test_a_supervisor_reads_no_long_values(database: Path, *, size: int, has_id: bool) -> None:
    """It asks every database which one it is, beside all its other work."""
    change(database, COMPUTED_META.format(bytes=size))

    assert (database_id(database) is not None) is has_id


@pytest.mark.skipif(sys.platform != "linux", reason="not on this platform: /proc")
def test_a_signal_ends_both(database: Path) -> None:
    change(database, COMPUTED.format(error=SPINS))
    with start("execution", "list", "--db", database, as_group=True) as command:
        wait_until(lambda: is_within_sqlite(command.pid), 20, "a child of the command computes")

        # Ctrl-C goes to both, and is not heard within one instruction of SQLite.
        os.killpg(command.pid, signal.SIGINT)
        command.send_signal(signal.SIGTERM)
        command.communicate(timeout=PATIENCE_S)

    assert command.returncode == -signal.SIGTERM
    wait_until(lambda: not members(command.pid), 10, "no process is left")


def is_within_sqlite(command: int) -> bool:
    """Tell whether a child computes for longer than all that comes before it could take."""
    children = psutil.Process(command).children()
    return any(child.cpu_times().user > 1 for child in children)


def members(group: int) -> list[int]:
    """Return the processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found
