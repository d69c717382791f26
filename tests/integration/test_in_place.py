"""Backups that are read where they are: the same as a restore, and no trace of it."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Txid
from obelisk_ops.errors import DamagedObject, OpsError, S3Unavailable, Unproven
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.inspect.summary import summarise, summarise_in_place
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.replica.image import Image
from obelisk_ops.replica.layer import Sizes
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.restore.service import restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.storage.sqlite.connection import APPLICATION_ID
from tests.command import call
from tests.commands import Commands, commands_for
from tests.conftest import S3
from tests.faults import Slow
from tests.images import TINY, image_of
from tests.integration.test_inspect import HOSTILE, prints
from tests.proxy import Proxy
from tests.replicas import ReplicatedDatabase, make_workflow_tables, write_config

CLOCK = SystemClock()
EVERYTHING = "SELECT sum(length(x)) FROM t"


def restored(database: ReplicatedDatabase, txid: int, target: Path) -> bytes:
    source = open_source(database.place, "run")
    wish = Txid(txid, database.epoch)
    restore(source, wish, target, clock=CLOCK, progress=lambda _done, _all: None)
    return target.read_bytes()


def read(image: Image, statement: str, limit_s: float = 60) -> list[Any]:
    with open_in_place(image, "run", limit_s=limit_s) as connection:
        return connection.execute(statement).fetchall()


def change(database: ReplicatedDatabase, chance: random.Random) -> None:
    """Grow, shrink, or scribble here and there."""
    match chance.randrange(4):
        case 0:
            database.fill(chance.randrange(10, 800), width=chance.choice([40, 400, 3000]))
        case 1:
            database.execute("DELETE FROM t WHERE rowid % 3 = ?", chance.randrange(3))
            database.execute("VACUUM")
        case 2:
            database.execute("UPDATE t SET x = hex(randomblob(60)) WHERE rowid % 40 = 7")
        case _:
            database.execute("CREATE INDEX IF NOT EXISTS i ON t (x)")
            database.execute("DELETE FROM t WHERE rowid % 5 = 1")


def compare(folder: Path, place: Any, page_size: int, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    database = ReplicatedDatabase(folder / "src", place, page_size=page_size)
    database.fill(300)
    database.ship()
    for number in range(changes):
        change(database, chance)
        database.ship(*(["-force-snapshot"] if number == changes // 2 else []))
    database.close()

    points = read_replica(database.store, database.keys).points
    assert len(points) > changes // 2
    for point in points:
        expected = restored(database, point.txid, folder / f"{point.txid}.db")
        for sizes in (replace(TINY, part=600), Sizes()):
            with Image(database.store, database.keys, 1, point.txid, sizes=sizes) as image:
                pages = [image.page(n) for n in range(1, image.pages + 1)]
            assert b"".join(pages) == expected, (seed, page_size, point.txid)


@pytest.mark.parametrize(("page_size", "seed"), [(512, 1), (65536, 2)])
def test_every_restore_point_is_what_litestream_restores(
    replica: Any, tmp_path: Path, page_size: int, seed: int
) -> None:
    compare(tmp_path, replica, page_size, seed, changes=3)


@pytest.mark.chaos
@pytest.mark.parametrize("page_size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_every_restore_point_of_long_histories(
    replica: Any, tmp_path: Path, page_size: int
) -> None:
    seed = random.SystemRandom().randrange(10**6)  # told by a failure
    compare(tmp_path, replica, page_size, seed, changes=15)


@pytest.fixture(scope="module")
def backup(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    """A workflow database, and three megabytes that have nothing to do with it."""
    database = ReplicatedDatabase(tmp_path_factory.mktemp("place"), s3.replica())
    make_workflow_tables(database.connection)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.fill(3000, width=1000)
    database.ship()
    database.execute("UPDATE state SET error = 'later' WHERE id = 'stuck'")
    database.ship()
    database.close()
    return database


@pytest.fixture
def commands(backup: ReplicatedDatabase, tmp_path: Path) -> Commands:
    return commands_for(backup.place, tmp_path)


def newest(database: ReplicatedDatabase) -> int:
    return read_replica(database.store, database.keys).points[-1].txid


@pytest.fixture
def lazily(backup: ReplicatedDatabase) -> Iterator[Image]:
    sizes = Sizes(replica=0)
    with Image(backup.store, backup.keys, 1, newest(backup), sizes=sizes) as image:
        yield image


def listing(database: ReplicatedDatabase) -> list[tuple[str, str, int]]:
    found = database.store.list(database.place.prefix)
    return [(info.key, info.etag, info.modified_ms) for info in found]


def test_a_summary_reads_little_and_says_what_it_left_out(lazily: Image) -> None:
    summary = summarise_in_place(lazily, "run@latest")

    assert summary.executions == {"finished": 2, "running": 1, "parked": 1}
    assert lazily.fetched_bytes < lazily.stored_bytes / 10
    assert summary.checks["quick_check"].startswith("skipped")


def test_what_is_read_through_is_fetched_in_few_requests(lazily: Image) -> None:
    assert read(lazily, EVERYTHING) == [(3000 * 1000,)]

    assert lazily.requests < 60
    assert lazily.fetched_bytes < 1.2 * lazily.stored_bytes


def test_commands_look_into_a_backup_and_leave_no_trace(
    commands: Commands,
    backup: ReplicatedDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(temporary)
    before = listing(backup)

    told = commands.run("inspect", "run", "--json").told
    assert told["backup"]["txid"] == newest(backup)
    assert told["checks"] == {"objects": "ok", "quick_check": "ok"}
    listed = commands.run("execution", "list", "--db", "run@txid:1", "--json").told
    assert [row["error"] for row in listed["executions"]][-1] == "other code"
    now = commands.run("execution", "show", "stuck", "--db", "run", "--json").told
    assert now["error"] == "later"
    url = f"{backup.place.url}/run"
    logged = commands.run("execution", "events", "busy", "--db", url, "--json").told
    assert len(logged["events"]) == 9
    assert commands.run("execution", "result", "good", "--db", "run").out == "7\n"
    assert commands.run("execution", "why", "stuck", "--db", "run").status == 0
    missing = commands.run("execution", "show", "nobody", "--db", "run", "--json")
    assert (missing.status, missing.error["code"]) == (7, "execution_not_found")

    assert list(temporary.iterdir()) == []
    assert listing(backup) == before


@pytest.mark.skipif(sys.platform != "linux", reason="not on this platform: limits of memory")
def test_a_backup_that_takes_more_memory_than_it_may(
    backup: ReplicatedDatabase, tmp_path: Path
) -> None:
    """A process of its own, which has loaded nothing yet."""
    config = write_config(tmp_path, backup.place)

    ran = call("-c", config, "inspect", "run", "--memory", "1MiB", "--json")

    assert (ran.status, ran.error["code"]) == (4, "limit_exceeded"), ran.err
    assert "--memory" in ran.error["hint"]


def test_a_copy_tells_the_same(commands: Commands) -> None:
    told = commands.run("inspect", "run", "--json").told
    copied = commands.run("inspect", "run", "--restore", "--json").told

    assert copied.pop("checks") == {"quick_check": "ok"}
    del told["checks"]
    assert copied == told


def test_the_database_of_another_program(s3: S3, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)").fetchall()
    connection.close()

    with image_of(path) as image:
        (table,) = summarise_in_place(image, "other").tables
    with image_of(path, Sizes()) as image:
        proven = summarise_in_place(image, "other")

    assert (table.name, table.rows, table.size) == ("t", 2, None)
    assert proven.tables == summarise(path).tables


def workflow_file(folder: Path) -> Path:
    path = folder / "run.db"
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", 1024)
    connection.pragma("journal_mode", "wal")
    make_workflow_tables(connection)
    connection.close()
    return path


@pytest.mark.parametrize("sizes", [TINY, Sizes()])
def test_a_file_and_its_backup_tell_the_same(tmp_path: Path, sizes: Sizes) -> None:
    path = workflow_file(tmp_path)

    with image_of(path, sizes) as image:
        told = summarise_in_place(image, "run")

    assert replace(told, checks={}) == replace(summarise(path), checks={})


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("sizes", [TINY, Sizes()])
@pytest.mark.fault(34)
def test_a_hostile_backup_is_harmless(tmp_path: Path, name: str, sizes: Sizes) -> None:
    path = workflow_file(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute(HOSTILE[name]).fetchall()
    connection.close()
    before = prints(tmp_path)
    began = time.monotonic()

    try:
        with image_of(path, sizes) as image:
            summarise_in_place(image, "run", limit_s=2)
    except OpsError as error:
        assert error.exit_status in {4, 10}  # noqa: PT017 - an answer is as good

    assert time.monotonic() - began < 90
    assert prints(tmp_path) == before


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.fault(34)
def test_pages_of_noise_are_harmless(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = workflow_file(tmp_path)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        at = chance.randrange(100, len(data) - 8)
        data[at : at + 8] = chance.randbytes(8)
    path.write_bytes(data)

    try:
        with image_of(path) as image:
            summarise_in_place(image, "run", limit_s=2)
    except OpsError as error:
        assert error.exit_status in {3, 4, 10}, seed  # noqa: PT017


def test_nothing_can_be_written(tmp_path: Path) -> None:
    path = workflow_file(tmp_path)
    other = tmp_path / "other.db"
    for statement in ("DELETE FROM log", f"ATTACH '{other}' AS o", "CREATE TABLE x (y)"):
        with image_of(path) as image, pytest.raises(OpsError):
            read(image, statement)
    assert not other.exists()


def test_a_large_sort_makes_no_file(tmp_path: Path) -> None:
    path = workflow_file(tmp_path)
    many = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000)"
        " SELECT count(*) FROM (SELECT i FROM n ORDER BY random())"
    )
    with image_of(path) as image:
        assert read(image, many) == [(300_000,)]


def test_no_statement_outlives_its_time(tmp_path: Path) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    with image_of(workflow_file(tmp_path)) as image, pytest.raises(Unproven):
        read(image, endless, limit_s=0.3)


@pytest.mark.fault(3)
def test_a_bucket_that_is_slow_ends_in_time(
    backup: ReplicatedDatabase, embedded_s3: S3Server
) -> None:
    with Proxy(embedded_s3.port) as proxy, proxy.fault(Slow(latency_s=0.02, rate=40_000)):
        store = open_store(replace(backup.place, endpoint=proxy.endpoint))
        with Image(store, backup.keys, 1, 2, sizes=Sizes(replica=0)) as image:
            began = time.monotonic()
            with pytest.raises(Unproven, match="within 1 s"):
                read(image, EVERYTHING, limit_s=1)

    assert time.monotonic() - began < 90


@pytest.mark.fault(2)
def test_a_bucket_that_falls_silent_is_named(
    backup: ReplicatedDatabase, embedded_s3: S3Server
) -> None:
    with Proxy(embedded_s3.port) as proxy:
        place = replace(backup.place, endpoint=proxy.endpoint)
        store = open_store(place, timeout_s=2, attempts=1)
        with Image(store, backup.keys, 1, 2, sizes=Sizes(replica=0)) as image:
            proxy.set("blackhole")
            with pytest.raises(S3Unavailable):
                read(image, EVERYTHING)


@pytest.mark.fault(36)
def test_retention_takes_what_is_being_read(s3: S3, tmp_path: Path) -> None:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    database.fill(1000)
    database.ship()
    database.fill(1000)
    database.ship("-force-snapshot")
    database.close()
    sizes = Sizes(replica=0, tail=500)
    with Image(database.store, database.keys, 1, 2, sizes=sizes) as image:
        read(image, "PRAGMA page_count")
        database.store.delete(database.ltx(9, 1, 2))

        assert read(image, "SELECT count(*) FROM t") == [(2000,)]


@pytest.mark.fault(12)
def test_a_damaged_object_is_named_by_a_command(s3: S3, tmp_path: Path) -> None:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    database.fill(100)
    database.ship()
    database.close()
    key = database.ltx(0, 1, 1)
    body = bytearray(database.store.get(key).body)
    body[len(body) // 2] ^= 1
    database.store.put(key, bytes(body))

    ran = commands_for(database.place, tmp_path).run("inspect", "run", "--json")

    assert ran.status == DamagedObject.exit_status == 10
    assert key in ran.error["message"]
