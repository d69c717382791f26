"""
Do a step, a submit and a claim take longer beside very many executions?

A step and a submit in turns with bare commits again, before and after; claims by several
workers in turns with the same in a schema where nothing else is.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks import bare, claims, stats, workflows
from benchmarks.programs.postgres import SERVER, in_floors, steps, turns
from obelisk_ops import Engine
from obelisk_ops.storage import as_address, make_if_missing
from tests.postgres import PostgresServer, running, with_option

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
#: where the tables are full, and where they are not
_FULL, _EMPTY = "bench", "empty"
_CLAIMERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """
    How many executions there are.

    Attributes:
        finished, pending: Those.
        blocks, steps: So many times so many are taken without and with them.
        turns, claims: And so often so many are claimed.
    """

    finished: int
    pending: int
    blocks: int
    steps: int
    turns: int
    claims: int


SIZES = {
    "full": Size(
        finished=1_000_000, pending=100_000, blocks=8, steps=250, turns=9, claims=2000
    ),
    "tiny": Size(finished=300, pending=30, blocks=2, steps=40, turns=1, claims=40),
}
ONCE = True


def measure(_folder: Path, size: Size) -> dict[str, float]:
    with running(SERVER) as server:
        return asyncio.run(_measure(server.base_url, size)) | _claims(server, size)


async def _measure(base_url: str, size: Size) -> dict[str, float]:
    url = with_option(base_url, f"schema={_FULL}")
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


def _claims(server: PostgresServer, size: Size) -> dict[str, float]:
    """Return how much slower tasks, and executions to make, are claimed."""
    make_if_missing(as_address(with_option(server.base_url, f"schema={_EMPTY}")))
    found = {}
    for name, script in (("task", claims.TASKS), ("letter", claims.LETTERS)):
        ratios = []
        for _ in range(size.turns):
            alone, crowded = (
                claims.make(server, schema, script, _CLAIMERS, size.claims).per_s
                for schema in (_EMPTY, _FULL)
            )
            ratios.append(alone / crowded)
        found[f"{name}_claim_slowdown_percent"] = 100 * (stats.median(ratios) - 1)
    return found


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
        connection.execute(f"SET search_path TO {_FULL}".encode())
        connection.execute(statements.encode())
        connection.execute(b"VACUUM ANALYZE")
        connection.execute(b"CHECKPOINT")
