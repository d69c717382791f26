"""What the bucket holds: backups, their points, and the walks that lead to them."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from obelisk_ops.litestream import ltx, restoring
from obelisk_ops.litestream.config import Target
from obelisk_ops.process import find_program, run
from obelisk_ops.replica.catalogue import walk
from obelisk_ops.replica.epochs import Parent
from obelisk_ops.replica.reading import list_epoch, read_headers, read_replica
from tests.commands import Commands, commands_for
from tests.conftest import S3
from tests.replicas import POINTS, ReplicatedDatabase, count_rows


@pytest.fixture
def commands(plain: ReplicatedDatabase, tmp_path: Path) -> Commands:
    return commands_for(plain.place, tmp_path)


def test_lists_the_backups(commands: Commands, plain: ReplicatedDatabase) -> None:
    points = commands.run("replica", "points", "run", "--json").told["points"]

    (row,) = commands.run("replica", "list", "--json").told["replicas"]

    listed = list(plain.store.list(plain.keys.epoch(1)))
    assert row == {
        "name": "run", "epoch": 1, "owner": "here", "txid": POINTS,
        "oldest": points[0]["at"], "newest": points[-1]["at"],
        "bytes": sum(info.size for info in listed), "objects": len(listed),
    }  # fmt: skip


def test_a_damaged_marker_hides_its_own_backup_alone(s3: S3, tmp_path: Path) -> None:
    place = s3.replica()
    for name in ("bad", "good"):
        database = ReplicatedDatabase(tmp_path / "src", place, name)
        database.close()
        if name == "bad":
            database.store.put(database.keys.marker(1), b"oops")
    commands = commands_for(place, tmp_path)

    ran = commands.run("replica", "list", "--json")

    assert [row["name"] for row in json.loads(ran.out)["replicas"]] == ["good"]
    assert (ran.status, ran.error["code"]) == (10, "damaged_object")
    assert f"{place.prefix}/bad/" in ran.error["message"]
    refused = commands.run("restore", "good", "--to", tmp_path / "c.db", "--json")
    assert (refused.status, refused.error["code"]) == (7, "restore_point_not_found")


def test_points_are_shown_page_by_page(commands: Commands) -> None:
    def page(*options: str) -> list[int]:
        told = commands.run("replica", "points", "run", "--json", *options).told
        return [point["txid"] for point in told["points"]]

    assert page("--limit", "2") == [1, 2]
    assert page("--limit", "1", "--after", "e0001/txid:2") == [3]
    assert page("--after", "txid:3", "--listed") == [4]


def test_the_points_of_a_span_and_how_close_together_they_are(commands: Commands) -> None:
    all_of_them = commands.run("replica", "points", "run", "--json").told
    moments = [point["at"] for point in all_of_them["points"]]

    told = commands.run(
        "replica", "points", "run", "--since", moments[1], "--until", moments[2], "--json"
    ).told

    assert [point["at"] for point in told["points"]] == moments[1:3]
    (band,) = told["granularity"]
    assert (band["since_age_seconds"], band["until_age_seconds"]) == (0, 300)
    assert band["points"] == POINTS, "it is about all of them"
    assert 0 < band["typical_seconds"] <= band["longest_seconds"]
    shown = commands.run("replica", "points", "run", "--until", moments[0]).out
    assert "e0001/txid:1" in shown
    assert "e0001/txid:2" not in shown
    assert f"up to 5m  {POINTS}" in shown
    refused = commands.run("replica", "points", "run", "--since", "txid:2")
    assert (refused.status, "and no time" in refused.err) == (2, True)


def test_exact_times_are_read_once_on_a_machine(
    plain: ReplicatedDatabase, commands: Commands, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    listed = commands.run("replica", "points", "run", "--listed", "--json").told["points"]
    assert {point["at_source"] for point in listed} == {"listed"}
    exact = commands.run("replica", "points", "run", "--exact", "--json").told["points"]

    again = commands.run("replica", "points", "run", "--listed", "--json").told["points"]

    assert again == exact, "without a request for them"
    sound = plain.store.get(plain.ltx(0, 2, 2)).body
    plain.store.put(plain.ltx(0, 2, 2), sound + b"x")
    changed = commands.run("replica", "points", "run", "--listed", "--json").told["points"]
    plain.store.put(plain.ltx(0, 2, 2), sound)
    assert [point["at_source"] for point in changed] == ["exact", "listed", "exact", "exact"]


def test_an_empty_bucket_lists_nothing(s3: S3, tmp_path: Path) -> None:
    commands = commands_for(s3.replica(), tmp_path)

    assert commands.run("replica", "list", "--json").told == {"replicas": []}


def test_an_abandoned_part_of_the_history_needs_its_epoch(s3: S3, tmp_path: Path) -> None:
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    for _ in range(3):
        database.fill(1)
        database.ship()
    database.begin_epoch(Parent(epoch=1, txid=2))
    commands = commands_for(database.place, tmp_path)
    latest = commands.run("restore", "run", "--to", tmp_path / "a.db", "--json").told
    database.fill(1)
    database.ship()

    points = commands.run("replica", "points", "run", "--json").told

    assert points["epoch"] == 2
    assert [(p["epoch"], p["txid"], p["orphaned"]) for p in points["points"]] == [
        (1, 1, False), (1, 2, False), (1, 3, True), (2, 1, False),
    ]  # fmt: skip
    assert (latest["epoch"], latest["obtained"]["txid"]) == (1, 2)
    obtained: dict[str, tuple[int, int, int]] = {}
    for moment in ("latest", "txid:1", "e0001/txid:3", points["points"][2]["at"]):
        target = tmp_path / f"{len(obtained)}.db"
        told = commands.run("restore", "run", "--at", moment, "--to", target, "--json").told
        obtained[moment] = (told["epoch"], told["obtained"]["txid"], count_rows(target))
    assert list(obtained.values()) == [(2, 1, 4), (2, 1, 4), (1, 3, 3), (1, 2, 2)]


def litestreams_plan(
    database: ReplicatedDatabase, folder: Path, txid: int
) -> list[list[int]] | None:
    """Ask Litestream what it would read: level and ends of each file; None if it refuses."""
    program = find_program("litestream")
    assert program is not None
    config, place = folder / "restore.yml", database.place
    target = Target(
        bucket=place.bucket, path=database.keys.epoch(1).rstrip("/"), region=place.region,
        endpoint=place.endpoint,
    )  # fmt: skip
    config.write_text(restoring.to_yaml(target, folder / "x.db"))
    argv = restoring.argv(
        program, config=config, database=folder / "x.db", txid=txid, output=folder / "o"
    )
    done = run([*argv[:-1], "-dry-run", argv[-1]], env=database.environment, timeout_s=20)
    if done.returncode:
        assert "no matching backup files" in done.stdout + done.stderr
        return None
    return [
        [int(file["level"]), int(file["min_txid"], 16), int(file["max_txid"], 16)]
        for file in json.loads(done.stdout)["files"]
    ]


def levels(database: ReplicatedDatabase) -> set[int]:
    return {file.level for file in list_epoch(database.store, database.keys, 1)}


def test_the_walk_is_the_one_litestream_takes(s3: S3, tmp_path: Path) -> None:
    """
    While Litestream compacts and expires, nothing looks like a gap, and its plans are ours.

    Our plan tells which object is damaged and how large the copy will be. What it notes beside
    an object of any level is what the header says.
    """
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    until = time.monotonic() + 6

    with database.replicating(levels_s=(1, 2), snapshot_s=2, retention_s=3):
        while time.monotonic() < until or not {0, 1, 9} <= levels(database):
            database.fill(1)
            found = read_replica(database.store, database.keys)
            assert [gap for gap in found.gaps if not gap.is_pending] == []

    points = read_replica(database.store, database.keys).points
    listed = list_epoch(database.store, database.keys, 1)
    notes = database.store.notes([file.key for file in listed])
    for file, header in zip(listed, read_headers(database.store, listed), strict=True):
        assert ltx.noted_ms(notes[file.key]) == header.timestamp_ms, file.key
    for point in points[:: max(1, len(points) // 12)]:
        ours = [[file.level, file.min_txid, file.max_txid] for file in walk(listed, point.txid)]
        assert ours == litestreams_plan(database, tmp_path, point.txid)

    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    for file in chance.sample(listed, k=len(listed) // 4):
        database.store.delete(file.key)
    left = list_epoch(database.store, database.keys, 1)
    ends = {point.txid for point in read_replica(database.store, database.keys).points}
    for txid in chance.sample(range(1, points[-1].txid + 1), k=12):
        ours = [[file.level, file.min_txid, file.max_txid] for file in walk(left, txid)]
        expected = ours if txid in ends else None
        assert litestreams_plan(database, tmp_path, txid) == expected, (seed, txid)
