"""An earlier state in the place of a database, and back again."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import apsw
import pytest
import yaml

from obelisk_ops import process
from obelisk_ops.objectstore import open_store
from obelisk_ops.replica.epochs import Parent, read_epochs
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.supervise.sidecar import Sidecar
from tests.commands import Commands, Ran
from tests.conftest import S3
from tests.replicas import ReplicatedDatabase, count_rows
from tests.supervised import Supervised


def commands_beside(folder: Path, place: ReplicaSettings) -> Commands:
    settings = {
        "replica": {
            "url": place.url, "endpoint": place.endpoint, "region": place.region,
            "credentials": place.credentials,
        },
        "databases": [{"path": "runs/*.db"}],
    }  # fmt: skip
    config = folder / "obelisk-ops.yml"
    config.write_text(yaml.safe_dump(settings))
    return Commands(config)


class World:
    """A folder of its own, with a copy of what was replicated."""

    def __init__(self, folder: Path, made: ReplicatedDatabase) -> None:
        self.path = folder / "runs" / "run.db"
        self.path.parent.mkdir()
        shutil.copyfile(made.path, self.path)
        self.path.chmod(0o640)
        self.commands = commands_beside(folder, made.place)

    def roll_back(self, *options: str | Path) -> Ran:
        return self.commands.run("rollback", "run", *options, "--json")

    def left(self) -> dict[str, tuple[int, bytes]]:
        """Every file that is not Litestream's, with its inode and content."""
        found = (path for path in self.path.parent.rglob("*") if path.is_file())
        return {
            str(path): (path.stat().st_ino, path.read_bytes())
            for path in found
            if "-meta" not in str(path) and path.name not in {"engine.lock", "supervisor.lock"}
        }


@pytest.fixture(scope="module")
def replicated(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    """Two restore points of five rows each, and one row more that was never shipped."""
    made = ReplicatedDatabase(tmp_path_factory.mktemp("made"), s3.replica())
    for _ in range(2):
        made.fill(5)
        made.ship()
    made.fill(1)
    made.close()
    return made


@pytest.fixture
def world(replicated: ReplicatedDatabase, tmp_path: Path) -> World:
    return World(tmp_path, replicated)


def test_back_and_back_again(world: World) -> None:
    before = world.left()
    planned = world.roll_back("--at", "txid:1").told
    assert (planned["dry_run"], planned["obtained"]["txid"]) == (True, 1)
    assert planned["download_bytes"] > 0
    assert 0 < planned["needed_bytes"] < planned["free_bytes"]
    assert planned["estimate"]["seconds"] > 0
    assert world.left() == before, "a dry run changes nothing"

    told = world.roll_back("--at", "txid:1", "--apply").told

    assert (told["obtained"]["txid"], told["asked"]) == (1, "txid:1")
    assert count_rows(world.path) == 5
    assert world.path.stat().st_mode & 0o777 == 0o640, "the mode goes over"
    kept = Path(told["replaced"]["path"])
    assert (kept.parent, count_rows(kept)) == (world.path.parent, 11)
    assert kept.name.startswith(".run.db.replaced-")

    arguments = shlex.split(told["undo"])[1:]
    assert arguments[:1] == ["-c"]
    undone = world.commands.run(*arguments[2:], "--json").told

    assert count_rows(world.path) == 11
    assert not kept.exists()
    assert count_rows(Path(undone["replaced"]["path"])) == 5
    again = world.commands.run(*shlex.split(undone["undo"])[3:])
    assert count_rows(world.path) == 5, again.err


def test_the_commands_for_people(world: World) -> None:
    planned = world.commands.run("rollback", "run", "--at", "latest")
    assert "add --apply" in planned.err
    assert [line.split()[0] for line in planned.out.splitlines()[-3:]] == [
        "from", "room", "time",
    ]  # fmt: skip
    shown = world.commands.run("rollback", "run", "--at", "txid:1", "--apply").out
    (command,) = [line for line in shown.splitlines() if line.startswith("undo")]
    arguments = shlex.split(command.removeprefix("undo"))[3:]

    assert "add --apply" in world.commands.run(*arguments[:-1]).err
    assert count_rows(world.path) == 5
    assert "put back" in world.commands.run(*arguments).out.lower()
    assert count_rows(world.path) == 11


@contextmanager
def a_supervisor(database: Path) -> Iterator[None]:
    lock = Sidecar(database).lock()
    yield
    lock.release()


@contextmanager
def an_engine(database: Path) -> Iterator[None]:
    lock = beside.Lock(database)
    yield
    lock.release()


@contextmanager
def another_program(database: Path) -> Iterator[None]:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("SELECT count(*) FROM t").fetchall()
        yield


@pytest.mark.parametrize("holder", [a_supervisor, an_engine, another_program])
def test_what_somebody_holds_is_not_touched(
    world: World, holder: Callable[[Path], AbstractContextManager[None]]
) -> None:
    with holder(world.path):
        before = world.left()

        ran = world.roll_back("--at", "txid:1", "--apply")

        assert (ran.status, ran.error["code"]) == (9, "database_locked")
        assert world.left() == before
        if holder is a_supervisor:
            assert f"stop it: {process.way_to_stop(str(os.getpid()))}" in ran.error["hint"]
            assert "start it again" in ran.error["hint"]
    assert count_rows(world.path) == 11


def test_what_does_not_fit_is_refused(world: World, tmp_path: Path) -> None:
    stranger = tmp_path / "runs" / ".run.db.replaced-20260101T000000000Z"
    stranger.write_bytes(b"whatever")
    before = world.left()
    cases = [
        # status  code                       options
        (2,       "usage",                   []),
        (2,       "usage",                   ["--at", "latest", "--undo", "x"]),
        (2,       "invalid_when",            ["--at", "yesterday", "--apply"]),
        (7,       "restore_point_not_found", ["--at", "txid:99", "--apply"]),
        (7,       "database_not_found",      ["--undo", str(tmp_path / "no"), "--apply"]),
        (8,       "conflict",                ["--undo", str(stranger), "--apply"]),
    ]  # fmt: skip

    for status, code, options in cases:
        ran = world.roll_back(*options)
        assert (ran.status, ran.error["code"]) == (status, code), options

    assert world.left() == before
    world.path.rename(tmp_path / "elsewhere.db")
    assert world.roll_back("--at", "latest").error["code"] == "database_not_found"
    world.path.symlink_to(tmp_path / "elsewhere.db")
    assert world.roll_back("--at", "latest").error["code"] == "usage"


def test_the_next_supervisor_opens_an_epoch_where_it_branched(s3: S3, tmp_path: Path) -> None:
    place = s3.replica()
    supervised = Supervised(tmp_path, place)
    commands = Commands(supervised.config)
    keys = ReplicaKeys(prefix=place.prefix, name="a")

    def shipped(rows: int) -> int:
        database = supervised.database("a")
        database.write(rows)
        database.close()
        assert supervised.once().returncode == 0
        points = commands.run("replica", "points", "a", "--json").told["points"]
        return int(points[-1]["txid"])

    with supervised:
        first, last = shipped(3), shipped(2)
        rolled = commands.run(
            "rollback", "a", "--at", f"txid:{first}", "--apply", "--json"
        ).told
        assert (rolled["replaced"]["epoch"], rolled["replaced"]["txid"]) == (1, last)
        shipped(1)
        undo = shlex.split(rolled["undo"])[3:]
        assert commands.run(*undo).status == 0
        shipped(1)

        parents = [marker.parent for marker in read_epochs(open_store(place), keys)]
        told = commands.run("replica", "points", "a", "--json").told
    assert parents == [None, Parent(epoch=1, txid=first), Parent(epoch=1, txid=last)]
    assert told["epoch"] == 3
    orphaned = {(p["epoch"], p["orphaned"]) for p in told["points"]}
    assert orphaned == {(1, False), (2, True), (3, False)}, "old points stay"
