"""Databases that come and go between two looks of the supervisor."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from obelisk_ops import Engine, activity, workflow
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Latest
from obelisk_ops.durable import signposts
from obelisk_ops.restore.service import restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage import open_reader
from obelisk_ops.supervise.signposts import Signposts, watched_folder
from tests.engines import looped
from tests.supervised import Supervised
from tests.support import PATIENCE_S


@activity
async def act(value: int) -> int:
    return value + 1


@workflow
async def brief(value: int) -> int:
    return await act(value)


async def live_briefly(database: Path, value: int) -> float:
    """Run one workflow; return after how many seconds the engine was left."""
    began = time.monotonic()
    async with Engine(database) as engine:
        assert await (await engine.submit(brief, value, id="brief")).result() == value + 1
        return time.monotonic() - began


def copy(replica: ReplicaSettings, name: str, folder: Path) -> Path:
    target = folder / f"{name}.db"
    restore(
        open_source(replica, name),
        Latest(),
        target,
        clock=SystemClock(),
        progress=lambda *_: None,
    )
    return target


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    (tmp_path / "runs").mkdir()
    with Supervised(tmp_path, replica) as supervised:
        yield supervised


@pytest.mark.parametrize(("topology", "count"), [("shared", 20), ("per-database", 3)])
@looped
async def test_what_lived_for_a_moment_is_in_the_bucket_when_its_worker_has_ended(
    supervised: Supervised, tmp_path: Path, replica: ReplicaSettings, topology: str, count: int
) -> None:
    supervised.configure(replica, litestream={"topology": topology})
    await asyncio.to_thread(supervised.start)
    names = [f"short{number}" for number in range(count)]
    runs = tmp_path / "runs"
    living = [live_briefly(runs / f"{name}.db", at) for at, name in enumerate(names)]

    lived_s = await asyncio.gather(*living)
    runs.rename(tmp_path / "lost")

    assert statistics.median(lived_s) < 60, "one look of the supervisor, and a Litestream"
    copies = await asyncio.gather(
        *[asyncio.to_thread(copy, replica, name, tmp_path) for name in names]
    )
    for value, restored in enumerate(copies):
        with closing(open_reader(restored)) as reader:
            row = reader.find("brief")
            assert row is not None
            finished = reader.log(row.key)[-1]
            assert msgspec.json.decode(finished.body)["ok"] == value + 1


@looped
async def test_a_folder_may_come_and_go_together_with_its_database(
    supervised: Supervised, tmp_path: Path, replica: ReplicaSettings
) -> None:
    runs = tmp_path / "runs"
    runs.rmdir()
    await asyncio.to_thread(supervised.start)
    runs.mkdir()

    await live_briefly(runs / "first.db", 1)
    runs.rename(tmp_path / "lost")

    with closing(
        open_reader(await asyncio.to_thread(copy, replica, "first", tmp_path))
    ) as reader:
        assert reader.find("brief") is not None


@looped
async def test_without_a_supervisor_or_for_what_it_does_not_know_nobody_waits(
    supervised: Supervised, tmp_path: Path
) -> None:
    await asyncio.to_thread(supervised.start)
    stranger = tmp_path / "runs" / "stranger.sqlite"
    await live_briefly(stranger, 1)
    supervised.crash()
    left_behind = list((tmp_path / "runs" / signposts.FOLDER).iterdir())
    assert left_behind, "a supervisor that was killed leaves it"
    alone = tmp_path / "runs" / "alone.db"

    async with asyncio.timeout(PATIENCE_S):
        await live_briefly(alone, 1)

    for database in (stranger, alone):
        assert not (database.with_name(f".{database.name}-obelisk") / "owner.json").exists()


def test_a_supervisor_that_stops_takes_its_signposts_down(supervised: Supervised) -> None:
    folder = supervised.folder / "runs" / signposts.FOLDER
    supervised.start()
    assert len(list(folder.iterdir())) == 1

    supervised.stop()

    assert not folder.exists()


def test_where_anybody_may_write_there_is_no_signpost(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "everybodys").mkdir()
    (tmp_path / "everybodys").chmod(0o777)
    ours = Signposts(tmp_path / "state", tmp_path / "s.sock")

    ours.put_up([f"{tmp_path}/ours/*.db", f"{tmp_path}/everybodys/*.db"])

    assert [path.parent.parent.name for path in tmp_path.glob("*/*/*.json")] == ["ours"]


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("/a/b/c.db", "/a/b"),
        ("/a/b/*.db", "/a/b"),
        ("/a/*/c.db", "/a"),
        ("/a/**/c[0-9]/*.db", "/a"),
        ("/*.db", "/"),
    ],
)
def test_a_signpost_stands_where_all_files_of_a_glob_are_below(
    pattern: str, folder: str
) -> None:
    assert watched_folder(pattern) == Path(folder)
