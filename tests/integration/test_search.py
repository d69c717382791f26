# ruff: noqa: E501 - tables are read by their columns
"""Searching every backup of a bucket: what is found, what is read again, what cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import apsw
import duckdb
import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.objectstore import open_store
from obelisk_ops.search.catalogue import Catalogue, Query
from obelisk_ops.search.contents import Contents, read_contents
from obelisk_ops.search.refresh import refresh
from obelisk_ops.storage.sqlite.connection import APPLICATION_ID
from tests.commands import Commands, commands_for
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase, make_workflow_tables
from tests.support import crash_here

DATA = Path(__file__).parent.parent / "data"


class Bucket:
    """Backups of one prefix, and a catalogue of them."""

    def __init__(self, s3: S3, folder: Path) -> None:
        self.place = s3.replica()
        self.folder = folder
        self.cache = folder / "cache"

    def add(self, name: str) -> ReplicatedDatabase:
        database = ReplicatedDatabase(self.folder, self.place, name)
        make_workflow_tables(database.connection)
        database.connection.pragma("application_id", APPLICATION_ID)
        database.ship()
        return database

    def refresh(self) -> int:
        """Bring the catalogue up to date; return how many backups were read."""
        opener = partial(open_store, self.place)
        with Catalogue(self.cache, self.place.url) as catalogue:
            return refresh(opener, self.place.prefix, catalogue, SystemClock(), _ignore)

    def ids(self, query: Query) -> list[str]:
        with Catalogue(self.cache, self.place.url) as catalogue:
            return [f"{found.backup}/{found.execution_id}" for found in catalogue.find(query)]


def _ignore(_done: int, _all: int) -> None:
    return None


@pytest.fixture
def bucket(s3: S3, tmp_path: Path) -> Bucket:
    return Bucket(s3, tmp_path)


@pytest.fixture(scope="module")
def shelf(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """Three backups: two of ours, and one that DBOS wrote."""
    bucket = Bucket(s3, tmp_path_factory.mktemp("shelf"))
    for name in ("east", "west"):
        bucket.add(name).close()
    other = ReplicatedDatabase(bucket.folder, bucket.place, "shop")
    other.execute((DATA / "dbos.sql").read_text())
    other.ship()
    other.close()
    bucket.refresh()
    return bucket


@pytest.fixture
def commands(
    shelf: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Commands:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return commands_for(shelf.place, tmp_path)


FILTERS = [
    # what                   query                                          found, newest first
    ("errors of any case",   Query(error="SHOP.DECL"),                      ["west/bad", "east/bad"]),
    ("a pickled error",      Query(error="card declined"),                  ["shop/order-2"]),
    ("a state",              Query(state="parked"),                         ["west/stuck", "east/stuck"]),
    ("a result",             Query(result="ok"),                            ["shop/order-1", "west/good", "east/good"]),
    ("a function",           Query(function="shop.sweep", backup="east"),   ["east/stuck", "east/busy"]),
    ("a span",               Query(since=2000, until=4000),                 ["west/busy", "east/busy", "west/bad", "east/bad"]),
    ("a pattern",            Query(backup="*st", state="running"),          ["west/busy", "east/busy"]),
    ("an input",             Query(input="[]", limit=1),                    ["west/stuck"]),
    ("another engine's",     Query(state="PENDING"),                        ["shop/parcel-1"]),
    ("nothing",              Query(error="100% sure"),                      []),
    ("behind another",       Query(state="parked", after="west/stuck"),     ["east/stuck"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"), [c[1:] for c in FILTERS], ids=[c[0] for c in FILTERS]
)
def test_what_fits_is_found(shelf: Bucket, query: Query, found: list[str]) -> None:
    assert shelf.ids(query) == found


def test_pages_follow_each_other_without_a_gap(shelf: Bucket) -> None:
    whole = shelf.ids(Query())
    paged: list[str] = []
    while page := shelf.ids(Query(limit=3, after=paged[-1] if paged else None)):
        paged += page

    assert len(whole) == 11
    assert paged == whole


def test_only_what_changed_is_read(bucket: Bucket) -> None:
    east, west = bucket.add("east"), bucket.add("west")
    assert bucket.refresh() == 2
    assert bucket.refresh() == 0

    east.execute("UPDATE state SET state = 'finished', result = 'ok' WHERE id = 'busy'")
    east.ship()
    assert bucket.refresh() == 1
    assert bucket.ids(Query(state="running")) == ["west/busy"]

    for info in list(west.store.list(west.keys.root)):
        west.store.delete(info.key)
    assert bucket.refresh() == 0
    assert {found.partition("/")[0] for found in bucket.ids(Query())} == {"east"}


def test_a_new_epoch_is_read(bucket: Bucket) -> None:
    east = bucket.add("east")
    bucket.refresh()

    east.begin_epoch(None)
    east.execute("DELETE FROM state WHERE id = 'stuck'")
    east.ship()

    assert bucket.refresh() == 1
    assert bucket.ids(Query(state="parked")) == []


def test_one_that_cannot_be_read_hides_nothing_else(bucket: Bucket) -> None:
    bucket.add("east")
    west = bucket.add("west")
    bucket.refresh()
    west.execute("UPDATE state SET state = 'paused' WHERE id = 'busy'")
    west.ship()
    for info in list(west.store.list(west.keys.epoch(1))):
        west.store.put(info.key, b"LTX1" + bytes(info.size - 4))

    assert bucket.refresh() == 1
    assert bucket.refresh() == 0  # it is as damaged as before
    with Catalogue(bucket.cache, bucket.place.url) as catalogue:
        [(name, why)] = catalogue.failures()
    assert name == "west"
    assert "damaged" in why
    # What was known before is older, and better than nothing.
    assert bucket.ids(Query(state="running")) == ["west/busy", "east/busy"]


@pytest.mark.fault(34)
def test_one_that_crashes_its_reader_hides_nothing_else(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(connection: apsw.Connection) -> Contents:
        if list(connection.execute("SELECT 1 FROM state WHERE state = 'paused'")):
            crash_here()
        return read_contents(connection)

    monkeypatch.setattr("obelisk_ops.search.refresh.read_contents", read)
    for name in ("east", "north", "west"):
        database = bucket.add(name)
        if name == "north":
            database.execute("UPDATE state SET state = 'paused'")
            database.ship()

    assert bucket.refresh() == 3
    assert bucket.refresh() == 0
    assert bucket.ids(Query(state="running")) == ["west/busy", "east/busy"]
    with Catalogue(bucket.cache, bucket.place.url) as catalogue:
        [(name, why)] = catalogue.failures()
    assert (name, why) == ("north", "the process that read north crashed (SIGSEGV)")


@pytest.mark.parametrize("harm", [b"", b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_catalogue_that_is_none_is_made_anew(bucket: Bucket, harm: bytes) -> None:
    bucket.add("east")
    bucket.refresh()
    [file] = bucket.cache.iterdir()
    file.write_bytes(harm)

    assert bucket.refresh() == 1
    assert bucket.ids(Query(state="running")) == ["east/busy"]


def test_a_catalogue_with_a_damaged_page_is_made_anew(bucket: Bucket) -> None:
    bucket.add("east")
    bucket.refresh()
    [file] = bucket.cache.iterdir()
    body = file.read_bytes()
    file.write_bytes(body[:4096] + b"\xff" * (len(body) - 4096))

    assert bucket.refresh() == 1
    assert bucket.ids(Query(state="running")) == ["east/busy"]


def test_a_catalogue_of_another_form_is_made_anew(bucket: Bucket) -> None:
    bucket.add("east")
    bucket.refresh()
    [file] = bucket.cache.iterdir()
    file.unlink()
    other = apsw.Connection(str(file))
    other.execute("CREATE TABLE executions (x)").fetchall()
    other.close()

    assert bucket.refresh() == 1


def test_a_cache_that_cannot_be_written_is_done_without(bucket: Bucket) -> None:
    bucket.add("east")
    bucket.cache.write_text("a file, and no folder")

    assert bucket.refresh() == 1
    assert bucket.cache.read_text() == "a file, and no folder"


def test_the_command(commands: Commands) -> None:
    told = commands.run("search", "--error", "declined", "--json").told

    assert told["backups"] == 3
    assert told["unreadable"] == []
    assert [row["execution_id"] for row in told["executions"]] == ["order-2", "bad", "bad"]
    assert told["executions"][1] == {
        "backup": "west", "execution_id": "bad", "function": "shop.fulfil",
        "state": "finished", "result": "error", "created_at": "1970-01-01T00:00:02.000Z",
        "finished_at": "1970-01-01T00:00:06.000Z", "parent_id": None,
        "error": "shop.Declined: no",
    }  # fmt: skip


def test_for_people_there_is_a_table(commands: Commands) -> None:
    ran = commands.run("search", "--state", "parked")

    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["BACKUP", "EXECUTION_ID"], ["west", "stuck"], ["east", "stuck"]
    ]  # fmt: skip
    assert "2 of 11 executions in 3 backups" in ran.err


def test_a_workflow_of_nearly_this_name(commands: Commands) -> None:
    ran = commands.run("search", "--function", "sweep", "--json")

    assert ran.told["executions"] == []
    assert "nothing here runs sweep; did you mean 'shop.sweep'? there are: " in ran.err


def test_questions_in_sql(commands: Commands) -> None:
    question = "SELECT backup, count(*) AS n FROM executions GROUP BY backup ORDER BY backup"

    told = commands.run("search", "--sql", question, "--json").told

    assert told["rows"] == [
        {"backup": "east", "n": 4}, {"backup": "shop", "n": 3}, {"backup": "west", "n": 4}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "question",
    [
        "DELETE FROM executions", "ATTACH '/tmp/x.db' AS x", "PRAGMA user_version = 7",
        "DROP TABLE backups", "SELECT load_extension('x')", "SELEC 1", "SELECT nothing",
        "VACUUM INTO '/tmp/x.db'", "", "SELECT 1; SELECT 2", "SELECT 1 AS a, 2 AS a",
    ],
)  # fmt: skip
def test_sql_that_does_more_than_read_is_refused(commands: Commands, question: str) -> None:
    ran = commands.run("search", "--sql", question)

    assert ran.status == 2, ran.out
    assert commands.run("search", "--no-refresh", "--json", "--limit", "1").told["executions"]


MISTAKES = [
    ("a moment",          ["--since", "yesterday"]),
    ("filters and SQL",   ["--sql", "SELECT 1", "--state", "parked"]),
    ("a form",            ["-o", "found.csv"]),
    ("a state",           ["--state", "nope"]),
    ("an unknown one",    ["--after", "nobody/nothing"]),
    ("a limit and SQL",   ["--sql", "SELECT 1", "--limit", "2"]),
]  # fmt: skip


@pytest.mark.parametrize("options", [c[1] for c in MISTAKES], ids=[c[0] for c in MISTAKES])
def test_mistakes_are_named(commands: Commands, options: list[str]) -> None:
    ran = commands.run("search", *options)

    assert ran.status == 2
    assert "hint:" in ran.err


def test_what_is_found_becomes_a_file(commands: Commands, tmp_path: Path) -> None:
    lines, columns = tmp_path / "found.jsonl", tmp_path / "found.parquet"

    assert commands.run("search", "-o", lines).status == 0
    assert commands.run("search", "--state", "parked", "-o", columns).status == 0

    assert len([json.loads(line) for line in lines.read_text().splitlines()]) == 11
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_parquet(str(columns)).project("backup, execution_id").fetchall()
    assert sorted(rows) == [("east", "stuck"), ("west", "stuck")]
    assert columns.stat().st_mode & 0o777 == lines.stat().st_mode & 0o777 == 0o600
    assert commands.run("search", "-o", lines).status == 8
    assert {path.name for path in tmp_path.glob("*found*")} == {"found.jsonl", "found.parquet"}


def test_a_file_has_the_same_columns_whatever_is_found(
    commands: Commands, tmp_path: Path
) -> None:
    some, none = tmp_path / "some.parquet", tmp_path / "none.parquet"
    sql = tmp_path / "sql.parquet"
    assert commands.run("search", "-o", some).status == 0
    assert commands.run("search", "--error", "no such thing", "-o", none).status == 0

    with duckdb.connect(":memory:") as connection:
        found = [connection.read_parquet(str(file)) for file in (some, none)]
        assert found[0].columns == found[1].columns
        assert found[0].types == found[1].types

    ran = commands.run("search", "--sql", "SELECT backup FROM executions WHERE 0", "-o", sql)
    assert ran.status == 0, ran.err
    with duckdb.connect(":memory:") as connection:
        assert connection.read_parquet(str(sql)).columns == ["backup"]


def test_a_bucket_that_does_not_answer(s3: S3, tmp_path: Path) -> None:
    place = replace(s3.replica(), endpoint="http://127.0.0.1:9")
    unreachable = commands_for(place, tmp_path)

    assert unreachable.run("search").status == 6
    assert unreachable.run("search", "--no-refresh").status == 4
