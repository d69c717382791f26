"""
A restore, a rollback and its undoing, killed or refused at every call of the system.

The processes and the files are real, and so are the objects; they lie in memory, and in
Litestream's place stands who writes what it would write, so that hundreds of runs are quick.
`test_restore_process.py` kills the whole command with the real Litestream.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Txid
from obelisk_ops.errors import OpsError
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.restore import aside, exchange, fetching
from obelisk_ops.restore.service import Source, restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.supervise.rollback import Rollback, undo
from tests.buckets import MemoryStore
from tests.conftest import S3
from tests.crashpoints import dies_at, refused_at, watched
from tests.replicas import ReplicatedDatabase, count_rows

CLOCK = SystemClock()
CALLS_MAX = 200


class Ranged(MemoryStore):
    """One that knows ranges."""

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        whole = super().get(key)
        return replace(whole, body=whole.body[first or 0 : None if last is None else last + 1])


class World:
    """A database of ten rows, and a replica in which it had five."""

    def __init__(self, folder: Path, s3: S3) -> None:
        made = ReplicatedDatabase(folder / "made", s3.replica())
        for _ in range(2):
            made.fill(5)
            made.ship()
        made.close()
        self.live, self.earlier = made.path, folder / "earlier.db"
        source = open_source(made.place, "run")
        restore(source, Txid(1), self.earlier, clock=CLOCK, progress=quiet)
        store = Ranged()
        for info in made.store.list(made.keys.root):
            store.objects[info.key] = made.store.get(info.key).body
        self.source: Source = replace(source, store=cast("ObjectStore", store))

    def write_copy(self, job: aside.Job, folder: Path, _progress: aside.Progress) -> Path:
        """Do what Litestream does."""
        assert job.txid == 1
        output = folder / "restored.db"
        shutil.copyfile(self.earlier, folder / "restored.db.tmp")
        (folder / "restored.db.tmp").rename(output)
        return output


def quiet(_written: int, _expected: int) -> None:
    return None


@pytest.fixture(scope="module")
def world(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), s3)


@pytest.fixture(autouse=True)
def _no_litestream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "run", world.write_copy)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "run.db"


def prepare(target: Path, world: World, *, is_there: bool) -> None:
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir()
    if is_there:
        shutil.copyfile(world.live, target)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_sound(path: Path) -> bool:
    connection = apsw.Connection(str(path))
    found = connection.pragma("integrity_check")
    connection.close()
    return bool(found == "ok")


def kept_files(target: Path) -> list[Path]:
    return sorted(target.parent.glob(".run.db.replaced-*Z"))


def restored(world: World, target: Path) -> None:
    restore(world.source, Txid(1), target, clock=CLOCK, progress=quiet)


def rolled_back(world: World, target: Path) -> Path:
    return Rollback(world.source, target, CLOCK).run(Txid(1), quiet).kept


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    "is_far", [False, pytest.param(True, marks=pytest.mark.chaos)], ids=["near", "far"]
)
def test_a_restore_that_is_killed_at_any_call(
    world: World, target: Path, monkeypatch: pytest.MonkeyPatch, *, is_far: bool
) -> None:
    monkeypatch.setattr(fetching, "pays", lambda _answer_ms, _files: is_far)
    whole = digest(world.earlier)
    appeared = 0
    for fatal in range(1, CALLS_MAX):
        prepare(target, world, is_there=False)

        was_killed = dies_at(fatal, lambda: restored(world, target))

        if target.exists():
            appeared += 1
            assert digest(target) == whole, fatal
            assert (target.parent / ".run.db-obelisk" / "restored.json").read_bytes()
            # A second name may be left in its private folder; the next restore removes it.
        else:
            assert was_killed, fatal
            restored(world, target)
            assert digest(target) == whole
            assert os.listdir(target.parent) in (  # noqa: PTH208 - names are enough
                ["run.db", ".run.db-obelisk"], [".run.db-obelisk", "run.db"],
            ), fatal  # fmt: skip
        if not was_killed:
            break
    assert 20 < fatal < CALLS_MAX - 1, "every call was tried, and there are many"
    assert appeared > 1, "some kills came when it was there"


@pytest.mark.fault(29)
def test_a_rollback_that_is_killed_at_any_call(world: World, target: Path) -> None:
    earlier, states = digest(world.earlier), set[int]()
    for fatal in range(1, CALLS_MAX):
        prepare(target, world, is_there=True)

        was_killed = dies_at(fatal, lambda: rolled_back(world, target))

        assert is_sound(target), fatal
        rows = count_rows(target)
        states.add(rows)
        if rows == 5:
            assert digest(target) == earlier, fatal
            (kept,) = kept_files(target)
            assert count_rows(kept) == 10, "what was there is kept"
            assert exchange.note_of(kept).read_bytes()
            undo("run", target, kept, CLOCK)
            assert count_rows(target) == 10
        else:
            assert (rows, was_killed) == (10, True), fatal
            kept = rolled_back(world, target)
            assert count_rows(target) == 5
            assert kept_files(target) == [kept], "a second name of what is there is no copy"
        assert not list(target.parent.glob("*restoring*")), fatal
        if not was_killed:
            break
    assert 30 < fatal < CALLS_MAX - 1
    assert states == {5, 10}


@pytest.mark.fault(29)
def test_an_undoing_that_is_killed_at_any_call(world: World, target: Path) -> None:
    states = set[int]()
    for fatal in range(1, CALLS_MAX):
        prepare(target, world, is_there=True)
        kept = rolled_back(world, target)

        was_killed = dies_at(fatal, lambda kept=kept: undo("run", target, kept, CLOCK))  # type: ignore[misc]

        assert is_sound(target), fatal
        states.add(rows := count_rows(target))
        copies = [count_rows(path) for path in kept_files(target) if not path.samefile(target)]
        assert sorted([rows, *copies]) == [5, 10], "both states are there, once"
        if rows == 5:
            undo("run", target, kept, CLOCK)
            assert count_rows(target) == 10
        if not was_killed:
            break
    assert 10 < fatal < CALLS_MAX - 1
    assert states == {5, 10}


ACTIONS: list[Callable[[World, Path], object]] = [restored, rolled_back]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.fault(27, 28)
def test_a_disk_that_refuses_any_call(
    world: World, target: Path, action: Callable[[World, Path], object]
) -> None:
    """It is said, and what was there is there; or it has happened, and that is said."""
    is_there = action is rolled_back
    refused = set[str]()
    for fatal in range(1, CALLS_MAX):
        prepare(target, world, is_there=is_there)
        said = ""
        with refused_at(fatal) as hit:
            try:
                action(world, target)
            except OpsError as error:
                said = error.message
        if not hit:
            break
        refused |= {*hit} if said else set()
        assert not said or "Input/output error" in said, (fatal, hit)
        rows = count_rows(target) if target.exists() else 0
        assert rows == 5 if not said else (rows == 10 * is_there or kept_files(target)), fatal
        # Where it is the tidying up that is refused, the next restore does it.
        assert not said or not list(target.parent.glob("*restoring*")), (fatal, hit)
    assert refused >= {"fsync", "mkdir", "replace" if is_there else "link"}
    assert fatal < CALLS_MAX - 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.fault(29)
def test_what_appears_is_on_the_disk_before_and_its_name_before_success(
    world: World, target: Path, action: Callable[[World, Path], object]
) -> None:
    """What a loss of power leaves is what was synced, in this order."""
    prepare(target, world, is_there=action is rolled_back)
    seen: list[tuple[str, int]] = []

    def note(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "fsync":
            seen.append(("fsync", os.fstat(arguments[0]).st_ino))
        elif name in {"link", "replace"} and Path(arguments[1]) == target:
            seen.append(("appears", Path(arguments[0]).stat().st_ino))

    with watched(note):
        action(world, target)

    at = seen.index(("appears", target.stat().st_ino))
    assert ("fsync", target.stat().st_ino) in seen[:at]
    assert ("fsync", target.parent.stat().st_ino) in seen[at:]
