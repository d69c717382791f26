"""What is asked of a file, of a restored copy and of a backup in place is answered alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.objectstore import open_store
from obelisk_ops.replica.image import Image
from obelisk_ops.storage.sqlite.connection import APPLICATION_ID
from tests.commands import Commands, commands_for
from tests.conftest import S3
from tests.drilled import workflow_replica
from tests.replicas import ReplicatedDatabase, make_workflow_tables

DATA = Path(__file__).parent.parent / "data"
SOURCES = ("file", "copy", "in place")
#: A database of this program before it had heartbeats, output, schedules and what else came.
ADDED = {"beat", "output", "cron", "leftover", "start", "refusal"}

Sources = dict[str, str]


@pytest.fixture(scope="module")
def run(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    return workflow_replica(tmp_path_factory.mktemp("run"), s3.replica(), points=2, each=1)


@pytest.fixture(scope="module")
def old(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    database = ReplicatedDatabase(tmp_path_factory.mktemp("old"), s3.replica())
    make_workflow_tables(database.connection)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.ship()
    database.close()
    return database


@pytest.fixture
def sources(tmp_path: Path) -> Callable[[ReplicatedDatabase], tuple[Commands, Sources]]:
    """Give three ways to one state, and commands that know the bucket."""

    def of(database: ReplicatedDatabase) -> tuple[Commands, Sources]:
        commands = commands_for(database.place, tmp_path)
        copy = tmp_path / "copy.db"
        assert commands.run("restore", "run", "--to", copy).status == 0
        named = {"file": str(database.path), "copy": str(copy), "in place": "run"}
        assert tuple(named) == SOURCES
        return commands, named

    return of


def keys(database: ReplicatedDatabase) -> list[str]:
    return [found.key for found in database.store.list(database.keys.root)]


QUESTIONS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "{db}"),
    "list": ("execution", "list", "--db", "{db}"),
    "show": ("execution", "show", "{id}", "--db", "{db}"),
    "events": ("execution", "events", "{id}", "--db", "{db}"),
    "why": ("execution", "why", "{id}", "--db", "{db}"),
    "output": ("execution", "output", "{id}", "--db", "{db}"),
    "result": ("execution", "result", "{id}", "--db", "{db}"),
    "diff": ("execution", "diff", "{id}", "{other}", "--db", "{db}"),
    "report": ("execution", "report", "{id}", "--db", "{db}"),
    "export": ("execution", "export", "{id}", "--db", "{db}"),
    "schedules": ("schedule", "list", "--db", "{db}"),
}
#: What tells of the source and not of what it holds.
OF_THE_SOURCE = {
    "path", "backup", "database", "checks", "written_at", "restore_point", "as_of", "bytes",
    "safe_version", "reasons", "last",
}  # fmt: skip


def without_source(told: Any) -> Any:
    if isinstance(told, dict):
        return {k: without_source(v) for k, v in told.items() if k not in OF_THE_SOURCE}
    return [without_source(one) for one in told] if isinstance(told, list) else told


def answers(commands: Commands, sources: Sources, **names: str) -> dict[str, list[Any]]:
    """Return what each question is answered, for each source."""
    found: dict[str, list[Any]] = {name: [] for name in QUESTIONS}
    for db in sources.values():
        for name, words in QUESTIONS.items():
            asked = [word.format(db=db, **names) for word in words]
            ran = commands.run(*asked, *(() if name == "export" else ("--json",)))
            assert ran.status == 0, (name, db, ran.err)
            found[name].append(without_source(json.loads(ran.out)))
    return found


def test_what_was_written_by_an_older_version_is_read_everywhere(
    old: ReplicatedDatabase, sources: Callable[..., tuple[Commands, Sources]]
) -> None:
    commands, named = sources(old)
    with apsw.Connection(str(old.path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        tables = {name for [name] in connection.execute("SELECT name FROM sqlite_schema")}
    assert not tables & ADDED

    found = answers(commands, named, id="good", other="bad")

    assert found["list"][0]["executions"][0]["execution_id"] == "good"
    assert found["result"][0] == 7
    assert found["schedules"][0] == {"schedules": []}
    for name, told in found.items():
        assert told[0] == told[1] == told[2], name


def test_what_was_written_now_is_read_alike(
    run: ReplicatedDatabase, sources: Callable[..., tuple[Commands, Sources]]
) -> None:
    commands, named = sources(run)

    found = answers(commands, named, id="run-0", other="run-1")

    for name, told in found.items():
        assert told[0] == told[1] == told[2], name


@pytest.mark.parametrize("source", SOURCES)
def test_code_is_replayed_and_forked_from_any_source(
    run: ReplicatedDatabase, sources: Callable[..., tuple[Commands, Sources]],
    source: str, tmp_path: Path,
) -> None:  # fmt: skip
    commands, named = sources(run)
    db, before = named[source], keys(run)
    target = tmp_path / "forked.db"

    replayed = commands.run("execution", "replay", "run-0", "tests.drilled:tree", "--db", db)
    forked = commands.run(
        "execution",
        "fork",
        "run-0",
        "--from-version",
        "3",
        "--db",
        db,
        "--to",
        target,
        "--json",
    )
    shown = commands.run("execution", "show", "run-0.fork-3", "--db", target, "--json")

    assert replayed.status == 0, replayed.err
    assert "the code fits versions 0 to" in replayed.out
    assert forked.told["path"] == str(target)
    assert shown.told["forked_from"] == {"id": "run-0", "version": 3}
    assert keys(run) == before


def test_a_moment_of_a_backup_is_replayed(
    run: ReplicatedDatabase, sources: Callable[..., tuple[Commands, Sources]]
) -> None:
    commands, _ = sources(run)
    asked = ("execution", "replay", "run-1", "tests.drilled:tree", "--json", "--db")

    now = commands.run(*asked, "run@e0001/txid:2")
    before_it_was = commands.run(*asked, "run@e0001/txid:1")

    assert now.told["finished"]
    assert (before_it_was.status, before_it_was.error["code"]) == (7, "execution_not_found")


def test_code_that_does_not_fit_a_backup_is_forked_into_a_file(
    run: ReplicatedDatabase, sources: Callable[..., tuple[Commands, Sources]], tmp_path: Path
) -> None:
    commands, _ = sources(run)
    changed = tmp_path / "otherwise.py"
    changed.write_text(
        "from obelisk_ops import workflow\n\n@workflow\n"
        "async def tree(n: int) -> int:\n    return n\n"
    )

    refused = commands.run(
        "execution", "replay", "run-0", f"{changed}:tree", "--db", "run@latest", "--json"
    )

    assert refused.status == 14
    assert "execution fork run-0 --from-version " in refused.error["hint"]
    assert refused.error["hint"].endswith("--to FILE --db run@latest")


def test_a_database_of_another_engine_is_told_alike(
    s3: S3, tmp_path: Path, sources: Callable[..., tuple[Commands, Sources]]
) -> None:
    shop = ReplicatedDatabase(tmp_path / "shop", s3.replica())
    shop.execute((DATA / "dbos.sql").read_text())
    shop.ship()
    shop.close()
    commands, named = sources(shop)

    for more in (
        ("--list", "--state", "ERROR"),
        ("--list", "--limit", "1"),
        ("--id", "order-2"),
    ):
        told = [commands.run("inspect", db, *more, "--json").told for db in named.values()]
        assert told[0] == told[1] == told[2]
        assert told[0].get("executions") or told[0]["steps"]
    nobody = commands.run("inspect", "run", "--id", "nobody", "--json")
    ours = commands.run("inspect", named["in place"], "--list")

    assert (nobody.status, nobody.error["code"]) == (7, "execution_not_found")
    assert ours.out.splitlines()[0].split()[:2] == ["ID", "FUNCTION"]


@pytest.mark.chaos
def test_a_database_of_more_than_a_gigabyte_has_a_page_that_is_not_there(
    s3: S3, tmp_path: Path
) -> None:
    """The page of the lock, which SQLite never writes and Litestream never ships."""
    size = 65536
    lock = (1 << 30) // size + 1
    database = ReplicatedDatabase(tmp_path / "large", s3.replica(), page_size=size)
    database.execute("CREATE TABLE hole (x)")
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
    half = (lock - 60) // 2 * (size - 4)  # a value may have a thousand million bytes
    database.execute("INSERT INTO hole VALUES (zeroblob(?)), (zeroblob(?))", half, half)
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
        " INSERT INTO t SELECT i, hex(randomblob(30000)) FROM n"
    )
    expected = database.connection.execute("SELECT id, x FROM t").fetchall()
    database.ship()
    database.close()
    store = open_store(database.place)

    with Image(store, database.keys, 1, 1) as image:
        assert image.pages > lock + 50
        assert image.page(lock) == bytes(size)
        with database.path.open("rb") as file:
            for pgno in (lock - 1, lock + 1, image.pages):
                file.seek((pgno - 1) * size)
                assert image.page(pgno) == file.read(size)
        with open_in_place(image, "run", limit_s=60) as connection:
            assert connection.execute("SELECT id, x FROM t").fetchall() == expected
            lengths = connection.execute("SELECT length(x) FROM hole").fetchall()
    assert lengths == [(half,), (half,)]
