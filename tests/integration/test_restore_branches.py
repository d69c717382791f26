"""A restore where the history was taken back: what was left behind is told, and counted."""

from __future__ import annotations

from pathlib import Path

from obelisk_ops.replica.epochs import Parent
from tests.commands import commands_for
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase, make_workflow_tables

_BEGUN = "INSERT INTO log VALUES ((3 << 32) + ?, ?, 'intended', ?)"


def test_what_lies_before_a_moment_and_was_left_behind(s3: S3, tmp_path: Path) -> None:
    """Two attempts began, the first state was gone on from, and one of them began again."""
    database = ReplicatedDatabase(tmp_path / "src", s3.replica())
    make_workflow_tables(database.connection)
    database.ship()
    database.execute(_BEGUN, 9, 3500, '{"n":6,"fn":"shop.pays","in":[],"try":1}')
    database.execute(_BEGUN, 10, 3600, '{"n":7,"fn":"shop.ships","in":[],"try":1}')
    database.ship()
    database.execute("DELETE FROM log WHERE key >= (3 << 32) + 9")
    database.begin_epoch(Parent(epoch=1, txid=1))
    database.execute(_BEGUN, 9, 3700, '{"n":6,"fn":"shop.pays","in":[],"try":1}')
    database.ship()
    commands = commands_for(database.place, tmp_path)
    points = commands.run("replica", "points", "run", "--json").told["points"]
    first, left, newest = points
    assert (left["epoch"], left["txid"], left["orphaned"]) == (1, 2, True)

    target = ["restore", "run", "--at", left["at"], "--to", str(tmp_path / "copy.db")]
    planned = commands.run(*target, "--dry-run").out
    told = commands.run(*target, "--json").told

    assert (told["epoch"], told["obtained"]["txid"]) == (1, 1)
    assert told["orphaned"] == {"epoch": 1, "txid": 2, "at": left["at"]}
    assert "to get that one: --at e0001/txid:2" in planned
    after = told["ran_after"]
    began = sorted((a["since"][-4:], a["activity"]) for a in after["attempts"])
    assert began == [("500Z", "shop.pays"), ("600Z", "shop.ships"), ("700Z", "shop.pays")]
    assert (after["until"]["epoch"], after["until"]["at"]) == (2, newest["at"])
    assert after["orphaned"] == [{"epoch": 1, "txid": 2, "at": left["at"]}]

    exact = commands.run(
        "restore", "run", "--at", first["at"], "--to", tmp_path / "first.db", "--json"
    ).told
    assert exact["orphaned"] is None
    shown = commands.run(
        "restore", "run", "--at", "e0001/txid:2", "--to", tmp_path / "second.db"
    ).out
    assert "not known: there is no later state in the bucket" in " ".join(shown.split())
