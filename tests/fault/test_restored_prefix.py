"""A backup of runs in full flight: every point of it is a moment of its source, no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk_ops import Engine, activity, gather, sleep, workflow
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.core.when import Txid
from obelisk_ops.errors import ReplicaNotFound
from obelisk_ops.replica.catalogue import Point
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.restore.service import restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage import open_reader
from tests.supervised import Supervised

Logs = dict[str, list[Event]]

FAMILIES, GENERATIONS, WAVES_MAX, POINTS = 4, 5, 200, 6


@activity
async def step(number: int) -> int:
    return number


@workflow
async def child(number: int) -> int:
    await sleep(0.01)
    return await step(number)


@workflow
async def parent(generations: int) -> int:
    total = 0
    for number in range(generations):
        total += sum(await gather(child(number), step(number)))
    return total


def logs(path: Path) -> Logs:
    with closing(open_reader(path)) as reader:
        rows = reader.executions(ExecutionFilter(limit=10_000))
        return {row.id: reader.log(row.key) for row in rows}


async def run_until(path: Path, is_enough: Callable[[], bool]) -> None:
    """Run one wave of families after the other; nothing ever waits for the backup."""
    async with Engine(path, workflows=[parent, child]) as engine:
        for wave in range(WAVES_MAX):
            names = [f"w{wave}-{number}" for number in range(FAMILIES)]
            handles = [await engine.submit(parent, GENERATIONS, id=name) for name in names]
            for handle in handles:
                await handle.result()
            if await asyncio.to_thread(is_enough):
                return
        raise AssertionError(f"nothing is shipped of {WAVES_MAX} waves")


def check_it_is_a_moment_of(copy: Logs, source: Logs) -> None:
    for name, log in copy.items():
        assert log == source[name][: len(log)], f"{name} is no prefix"
        children = {body["n"]: body["id"] for body in bodies(log, "child_created")}
        for body in bodies(log, "child_finished"):
            end = copy[children[body["n"]]][-1]
            assert end.kind == "finished", f"{name} was answered by a child that had not ended"


def bodies(log: list[Event], kind: str) -> list[Any]:
    return [msgspec.json.decode(event.body) for event in log if event.kind == kind]


@pytest.mark.behaviour("O60")
def test_every_point_is_a_prefix_of_its_source(
    replica: ReplicaSettings, tmp_path: Path
) -> None:
    path = tmp_path / "runs" / "run.db"
    path.parent.mkdir()
    with Supervised(tmp_path, replica, litestream={"sync_interval": "100ms"}) as supervised:
        supervised.start()
        source = open_source(replica, "run")

        def points() -> Sequence[Point]:
            with suppress(ReplicaNotFound):
                return read_replica(source.store, source.keys).points
            return ()

        asyncio.run(run_until(path, lambda: len(points()) > POINTS))
        supervised.until_safe("run")
    whole = logs(path)
    found = sorted(points(), key=lambda point: point.txid)
    chosen = [*found[1 : -1 : len(found) // POINTS], found[-1]]
    lengths = []

    for number, point in enumerate(chosen):
        target, wish = tmp_path / f"{number}.db", Txid(point.txid, point.epoch)
        restore(source, wish, target, clock=SystemClock(), progress=lambda _done, _whole: None)
        copy = logs(target)
        check_it_is_a_moment_of(copy, whole)
        lengths.append(sum(map(len, copy.values())))

    assert lengths == sorted(lengths), "each further than the one before"
    assert lengths[-1] == sum(map(len, whole.values()))
    assert len(set(lengths)) > 2, "some were taken in full flight"
