"""A replicated workflow database with every kind of call, to be drilled and damaged."""

from __future__ import annotations

import asyncio
from pathlib import Path

from obelisk_ops import Engine, activity, gather, join_set, sleep, workflow
from obelisk_ops.settings import ReplicaSettings
from tests.replicas import ReplicatedDatabase


@activity
async def double(n: int) -> int:
    return 2 * n


@workflow
async def leaf(n: int) -> int:
    await sleep(0.01)
    return await double(n)


@workflow
async def tree(n: int) -> int:
    one, two = await gather(double(n), double(n + 1))
    total: int = one + two
    async with join_set("leaves") as leaves:
        leaves.submit(leaf, n)
        async for found in leaves:
            total += found
    return total


async def _grow(database: ReplicatedDatabase, name: str, points: int, each: int) -> None:
    # One engine all the time: every file is read from the same write-ahead log.
    async with Engine(database.path, workflows=[tree, leaf]) as engine:
        for point in range(points):
            numbers = range(point * each, (point + 1) * each)
            handles = [await engine.submit(tree, n, id=f"{name}-{n}") for n in numbers]
            for handle in handles:
                await handle.result()
            await asyncio.to_thread(database.ship)


def workflow_replica(
    folder: Path, place: ReplicaSettings, *, name: str = "run", points: int = 4, each: int = 2
) -> ReplicatedDatabase:
    """Return a replica of a workflow database, so many restore points long."""
    database = ReplicatedDatabase(folder, place, name)
    asyncio.run(_grow(database, name, points, each))
    database.close()
    return database
