"""Do a step and a submit take longer beside very many executions? Beside bare commits again."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks import bare, workflows
from benchmarks.programs.postgres import SERVER, in_floors, steps, turns
from obelisk_ops import Engine
from tests.postgres import running, with_option

#: executions that slept, and ended, or that sleep: as engines leave them
_FILL = """
INSERT INTO state (key, id, function, state, result, created_at, finished_at, worker)
SELECT n, 'filled-' || n, 'bench.filled', kind, CASE kind WHEN 'finished' THEN 'ok' END, n,
       CASE kind WHEN 'finished' THEN n END, (SELECT id FROM worker LIMIT 1)
FROM generate_series(1000001, {all}) AS n,
     LATERAL (SELECT CASE WHEN n > {finished} THEN 'pending' ELSE 'finished' END) AS x (kind);
INSERT INTO log (key, at, kind, body)
SELECT (n << 32) + version, n, kind, body
FROM generate_series(1000001::bigint, {all}) AS n, (VALUES
    (0, 'created', '{{"fn":"bench.filled","in":[]}}'),
    (1, 'timer_set', '{{"n":1,"for":86400000}}'),
    (2, 'timer_fired', '{{"n":1,"seq":1}}'),
    (3, 'finished', '{{"ok":null}}')
) AS events (version, kind, body) WHERE version < 2 OR n <= {finished};
INSERT INTO timer (execution, n, due)
SELECT n, 1, 4000000000000 FROM generate_series({finished} + 1, {all}) AS n;
"""
_FIRST = 1_000_000  # keys behind those that an engine has drawn by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many executions there are; *blocks* times *steps* are taken without and with them."""

    finished: int
    pending: int
    blocks: int
    steps: int


SIZES = {
    "full": Size(finished=1_000_000, pending=100_000, blocks=8, steps=250),
    "tiny": Size(finished=300, pending=30, blocks=2, steps=40),
}
ONCE = True


def measure(_folder: Path, size: Size) -> dict[str, float]:
    with running(SERVER) as server:
        return asyncio.run(_measure(server.base_url, size))


async def _measure(base_url: str, size: Size) -> dict[str, float]:
    url = with_option(base_url, "schema=bench")
    with closing(bare.Inserts(base_url)) as floor:
        async with Engine(url, grace=0) as engine:
            await _costs(engine, floor, size)  # to warm up
            step, submit = await _costs(engine, floor, size)
            _fill(base_url, size)
            crowded_step, crowded_submit = await _costs(engine, floor, size)
    return {
        "step_slowdown_percent": 100 * (crowded_step / step - 1),
        "submit_slowdown_percent": 100 * (crowded_submit / submit - 1),
    }


async def _costs(engine: Engine, floor: bare.Inserts, size: Size) -> list[float]:
    """Return what a step, and a submit with all that comes of it, cost in bare commits."""

    async def submit(count: int) -> None:
        for _ in range(count):
            await (await engine.submit(workflows.asynchronous, 0)).result()

    jobs = steps(engine), submit
    floors, taken = await turns(floor, size.blocks, size.steps, *jobs)
    return [in_floors(ours, floors) for ours in taken]


def _fill(base_url: str, size: Size) -> None:
    last = _FIRST + size.finished
    statements = _FILL.format(finished=last, all=last + size.pending)
    with psycopg.connect(base_url, autocommit=True) as connection:
        connection.execute(b"SET search_path TO bench")
        connection.execute(statements.encode())
        connection.execute(b"VACUUM ANALYZE")
        connection.execute(b"CHECKPOINT")
