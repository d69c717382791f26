# ruff: noqa: E501 - tables are read by their columns
"""Restores of real replicas from a real S3 server, by the command line."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.litestream import restoring
from obelisk_ops.litestream.config import Target
from tests.commands import Commands, commands_for
from tests.conftest import S3
from tests.replicas import (
    POINTS,
    ROWS_EACH,
    ReplicatedDatabase,
    count_rows,
    make_workflow_tables,
)


@pytest.fixture
def commands(plain: ReplicatedDatabase, tmp_path: Path) -> Commands:
    return commands_for(plain.place, tmp_path)


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_every_point_is_restored_by_its_transaction_and_its_time(
    commands: Commands, tmp_path: Path
) -> None:
    points = commands.run("replica", "points", "run", "--json").told["points"]
    assert [(p["epoch"], p["txid"], p["at_source"]) for p in points] == [
        (1, n, "exact") for n in range(1, POINTS + 1)
    ]

    for point in points:
        for moment in (f"txid:{point['txid']}", f"e0001/txid:{point['txid']}", point["at"]):
            target = tmp_path / f"{point['txid']}-{moment[:4]}{len(moment)}.db"
            told = commands.run("restore", "run", "--at", moment, "--to", target, "--json").told

            assert told["asked"] == moment
            assert told["obtained"] == {"txid": point["txid"], "at": point["at"]}
            assert count_rows(target) == point["txid"] * ROWS_EACH


def test_a_moment_between_points_gives_the_one_before(
    commands: Commands, tmp_path: Path
) -> None:
    points = commands.run("replica", "points", "run", "--json").told["points"]
    just_before = points[2]["at"].replace("Z", "+00:00")
    moment = SystemClock().now_ms()  # after all of them: the database is idle since
    target = tmp_path / "copy.db"

    told = commands.run("restore", "run", "--at", iso(moment), "--to", target, "--json").told

    assert told["obtained"]["txid"] == POINTS
    assert told["asked_at"] == iso(moment)
    again = commands.run(
        "restore", "run", "--at", just_before, "--to", tmp_path / "b.db", "--json"
    )
    assert again.told["obtained"]["txid"] == 3


def test_now_of_an_idle_database_is_its_newest_point(
    commands: Commands, tmp_path: Path
) -> None:
    told = commands.run("restore", "run", "--at", "0s ago", "--to", tmp_path / "c.db").out

    assert "the newest state that was captured by then" in told
    assert count_rows(tmp_path / "c.db") == POINTS * ROWS_EACH


def test_the_copy_is_one_private_complete_file(commands: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    target = folder / "copy.db"

    told = commands.run("restore", "run", "--to", target, "--json").told

    assert files(folder) == [".copy.db-obelisk", "copy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_nlink == 1
    assert told["path"] == str(target)
    assert told["bytes"] == target.stat().st_size
    assert told["checks"]["quick_check"] == told["checks"]["txid"] == "ok"
    assert told["in_flight"] == []
    note = json.loads((folder / ".copy.db-obelisk" / "restored.json").read_text())
    assert (note["name"], note["epoch"], note["txid"]) == ("run", 1, POINTS)
    assert note["inode"] == target.stat().st_ino
    with apsw.Connection(str(target)) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    assert count_rows(target) == POINTS * ROWS_EACH + 1


def test_what_the_superuser_restores_belongs_to_whom_the_folder_belongs(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *who: given.append((Path(path).name, who)))
    folder = tmp_path / "theirs"
    folder.mkdir()

    assert commands.run("restore", "run", "--to", folder / "copy.db").status == 0

    owner = folder.stat().st_uid, folder.stat().st_gid
    assert {who for _, who in given} == {owner}
    names = [name for name, _ in given]
    assert names[:2] == ["restored.db", ".copy.db-obelisk"]
    assert names[2].startswith(".restored.json-")


def test_a_dry_run_writes_nothing(commands: Commands, tmp_path: Path) -> None:
    before = files(tmp_path)

    told = commands.run("restore", "run", "--to", tmp_path / "c.db", "--dry-run", "--json").told

    assert told["dry_run"] is True
    assert told["bytes"] < told["needed_bytes"] < told["free_bytes"]
    assert 1 <= told["estimate"]["seconds"] < 600
    assert told["estimate"]["read_bytes_per_second"] > 0
    shown = commands.run("restore", "run", "--to", tmp_path / "c.db", "--dry-run").out
    assert "needed" in shown
    assert "about" in shown
    assert told["objects"] == POINTS
    assert told["obtained"]["txid"] == POINTS
    assert files(tmp_path) == before


def seconds_from_now(seconds: float) -> str:
    return iso(SystemClock().now_ms() + round(seconds * 1000))


REFUSED = [
    # what                  arguments                                status  code
    ("future",              ["run", "--at", seconds_from_now(3600)], 7, "restore_point_not_found"),
    ("before the oldest",   ["run", "--at", "400d ago"],             7, "restore_point_not_found"),
    ("no such point",       ["run", "--at", "txid:99"],              7, "restore_point_not_found"),
    ("no such epoch",       ["run", "--at", "e0009/txid:1"],         7, "restore_point_not_found"),
    ("no such backup",      ["nothing"],                             7, "replica_not_found"),
    ("bad moment",          ["run", "--at", "yesterday"],            2, "invalid_when"),
    ("no time zone",        ["run", "--at", "2026-11-22T10:00:00"],  2, "invalid_when"),
    ("bad name",            ["../run"],                              3, "config"),
    ("a moment behind it",  ["run@txid:2"],                          2, "usage"),
    ("a URL",               ["s3://bucket/prefix/run"],              2, "usage"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "code"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_refuses_and_leaves_nothing(
    commands: Commands, tmp_path: Path, arguments: list[str], status: int, code: str
) -> None:
    before = files(tmp_path)

    ran = commands.run("restore", *arguments, "--to", tmp_path / "c.db", "--json")

    assert (ran.status, ran.error["code"]) == (status, code)
    assert ran.error["hint"]
    assert ran.out == ""
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("present", "status", "code"),
    [
        ("c.db", 8, "target_exists"),
        ("c.db-wal", 8, "stale_sidecar"),
        ("c.db-shm", 8, "stale_sidecar"),
        ("c.db-journal", 8, "stale_sidecar"),
    ],
)
@pytest.mark.fault(30)
def test_nothing_that_exists_is_touched(
    commands: Commands, tmp_path: Path, present: str, status: int, code: str
) -> None:
    (tmp_path / present).write_bytes(b"precious")
    before = files(tmp_path)

    ran = commands.run("restore", "run", "--to", tmp_path / "c.db", "--json")

    assert (ran.status, ran.error["code"]) == (status, code)
    assert (tmp_path / present).read_bytes() == b"precious"
    assert files(tmp_path) == before


def test_a_dangling_link_is_something_that_exists(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "c.db").symlink_to(tmp_path / "nowhere")

    ran = commands.run("restore", "run", "--to", tmp_path / "c.db", "--json")

    assert ran.error["code"] == "target_exists"
    assert not (tmp_path / "nowhere").exists()


def test_the_folder_of_the_target_must_exist(commands: Commands, tmp_path: Path) -> None:
    ran = commands.run("restore", "run", "--to", tmp_path / "no" / "c.db", "--json")

    assert ran.status == 6
    assert "mkdir" in ran.error["hint"]


def test_wrong_places_are_named_at_once(s3: S3, tmp_path: Path) -> None:
    """In seconds, where Litestream alone needs minutes or deletes first."""
    secret = tmp_path / "keys"
    secret.touch(mode=0o600)
    secret.write_text("[default]\naws_access_key_id = AK\naws_secret_access_key = wrong\n")
    good = s3.replica()
    places = [
        (6, "bucket_missing", {"bucket": "no-such-bucket-here"}),
        (11, "credentials", {"credentials": f"file:{secret}"}),
        (6, "s3_unavailable", {"endpoint": "http://127.0.0.1:9"}),
    ]
    for status, code, change in places:
        place = replace(good, **change)
        commands = commands_for(place, tmp_path)
        began = time.monotonic()

        for arguments in (
            ["restore", "run", "--to", tmp_path / "c.db"],
            ["replica", "points", "run"],
            ["replica", "list"],
        ):
            ran = commands.run(*arguments, "--json")

            assert (ran.status, ran.error["code"]) == (status, code), arguments
            assert "wrong" not in ran.err
        assert time.monotonic() - began < 90
    assert files(tmp_path) == ["keys", "obelisk-ops.yml"]


def test_no_secret_is_written_or_passed_where_others_see_it(
    plain: ReplicatedDatabase, s3: S3
) -> None:
    target = Target(bucket="b", path="p/run/e0001", region="r", endpoint=s3.endpoint)
    argv = restoring.argv(
        Path("litestream"), config=Path("c"), database=Path("d"), txid=20, output=Path("o")
    )

    written = restoring.to_yaml(target, Path("d")) + " ".join(argv)

    assert s3.secret_key not in written
    assert "-force" not in argv
    assert "0000000000000014" in argv


def test_a_workflow_database_is_checked_for_meaning(s3: S3, tmp_path: Path) -> None:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    make_workflow_tables(database.connection)
    database.ship()
    database.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    database.ship()
    database.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    database.execute("DELETE FROM log WHERE execution = 3 AND version = 4")
    database.ship()
    commands = commands_for(database.place, tmp_path)

    told = commands.run(
        "restore", "run", "--at", "txid:1", "--to", tmp_path / "1.db", "--json"
    ).told
    assert told["checks"] == {"txid": "ok", "quick_check": "ok", "schema": "ok", "logs": "ok"}
    assert [(call["execution_id"], call["activity"], call["try"]) for call in told["in_flight"]] == [
        ("busy", "shop.train", 2), ("busy", "shop.score", 1),
    ]  # fmt: skip

    later = commands.run(
        "restore", "run", "--at", "txid:2", "--to", tmp_path / "2.db", "--json"
    )
    assert "newer than this program" in later.told["checks"]["logs"]

    before = files(tmp_path)
    ran = commands.run("restore", "run", "--at", "txid:3", "--to", tmp_path / "3.db", "--json")
    assert (ran.status, ran.error["code"]) == (10, "verification_failed")
    assert files(tmp_path) == before

    seen = commands.run("inspect", "run@txid:1", "--json").told
    assert seen["backup"]["txid"] == 1
    url = f"{database.place.url}/run@e0001/txid:1"
    assert commands.run("inspect", url, "--json").told["backup"] == seen["backup"]
    assert seen["executions"] == {"finished": 2, "running": 1, "parked": 1}
    assert files(tmp_path) == before


def test_what_may_have_run_after_the_moment(s3: S3, tmp_path: Path) -> None:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    make_workflow_tables(database.connection)
    database.ship()
    log = "INSERT INTO log VALUES ((? << 32) + ?, ?, ?, ?)"
    begun = [
        # execution, version, at, kind, body
        (3, 9, 3500, "attempt_failed",
         '{"n":2,"try":2,"error":{"type":"E","message":"m"},"retry_at":3600}'),
        (3, 10, 3600, "attempt_started", '{"n":2,"try":3}'),
        (3, 11, 3700, "intended", '{"n":6,"fn":"shop.later","in":[],"try":1}'),
        (3, 12, 3800, "intended", '{"n":7,"fn":"shop.waits","in":[]}'),
        (5, 0, 5000, "created", '{"fn":"shop.new","in":[]}'),
        (5, 1, 5100, "intended", '{"n":1,"fn":"shop.first","in":[],"try":1}'),
    ]  # fmt: skip
    for row in begun:
        database.execute(log, *row)
    state = "INSERT INTO state (key, id, function, state, created_at) VALUES (?, ?, ?, ?, ?)"
    database.execute(state, 5, "new", "shop.new", "running", 5000)
    database.ship()
    commands = commands_for(database.place, tmp_path)

    def after(moment: str, number: int) -> dict[str, object]:
        target = tmp_path / f"{number}.db"
        ran = commands.run("restore", "run", "--at", moment, "--to", target, "--json")
        told: dict[str, object] = ran.told["ran_after"]
        return told

    told = after("txid:1", 1)
    assert isinstance(told["attempts"], list)
    assert [(a["execution_id"], a["call_id"], a["activity"], a["try"]) for a in told["attempts"]] == [
        ("busy", "busy/2", "shop.train", 3), ("busy", "busy/6", "shop.later", 1),
        ("new", "new/1", "shop.first", 1),
    ]  # fmt: skip
    assert isinstance(told["until"], dict)
    assert (told["until"]["epoch"], told["until"]["txid"], told["unknown"]) == (1, 2, None)
    shown = commands.run("restore", "run", "--at", "txid:1", "--to", tmp_path / "9.db").out
    assert "busy: shop.train, attempt 3" in shown
    assert "the newest state in the bucket" in shown

    newest = after("latest", 2)
    assert (newest["attempts"], newest["until"]) == ([], None)
    assert "no later state" in str(newest["unknown"])

    database.store.put(database.ltx(0, 2, 2), b"damaged" * 40)
    damaged = after("txid:1", 3)
    assert (damaged["attempts"], damaged["until"]) == ([], None)
    assert "damaged" in str(damaged["unknown"]), "and the restore has succeeded"


def test_nothing_is_said_of_what_ran_in_a_database_of_others(
    commands: Commands, tmp_path: Path
) -> None:
    told = commands.run("restore", "run", "--at", "txid:1", "--to", tmp_path / "c.db", "--json")

    assert told.told["ran_after"] is None
