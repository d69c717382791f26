"""On PostgreSQL: 64 workers that claim at the same time, and 20 that have nothing to do."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psycopg

from benchmarks import claims, stats, workflows
from benchmarks.programs.postgres import SERVER
from obelisk_ops import Engine
from obelisk_ops.storage import as_address, make_if_missing
from tests.postgres import PostgresServer, running, with_option

SCRIPTS = {"tasks": claims.TASKS, "answered": claims.ANSWERED, "letters": claims.LETTERS}
_ASKED = re.compile(rb"^.* LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """
    How much, and for how long.

    Attributes:
        few, many: How many claim at the same time.
        claims: How many are made at each of so many *turns*, by few and by many.
        resting: How many workers rest.
        settle_s: How long they are left alone at first.
        rest_s: How long they are watched.
    """

    few: int
    many: int
    claims: int
    turns: int
    resting: int
    settle_s: float
    rest_s: float


SIZES = {
    "full": Size(few=8, many=64, claims=6400, turns=5, resting=20, settle_s=6, rest_s=20),
    "tiny": Size(few=1, many=3, claims=12, turns=1, resting=2, settle_s=0, rest_s=0.3),
}
ONCE = True


def measure(_folder: Path, size: Size) -> dict[str, float]:
    with running(SERVER) as server:
        return _crowded(server, size) | asyncio.run(_resting(server, size))


def _crowded(server: PostgresServer, size: Size) -> dict[str, float]:
    make_if_missing(as_address(with_option(server.base_url, "schema=crowd")))
    found: dict[str, float] = {"longest_wait_ms": 0.0, "idle_percent": 0.0}
    for name, script in SCRIPTS.items():
        rates: dict[int, list[float]] = {size.few: [], size.many: []}
        idle: dict[int, list[float]] = {size.few: [], size.many: []}
        for _ in range(size.turns):
            for clients, seen in rates.items():
                made = claims.make(server, "crowd", script, clients, size.claims)
                seen.append(made.per_s)
                idle[clients].append(100 * made.idle)
                found["longest_wait_ms"] = max(found["longest_wait_ms"], made.longest_wait_ms)
        few, many = rates[size.few], rates[size.many]
        ratios = [more / less for less, more in zip(few, many, strict=True)]
        found |= {
            f"{name}.few.rate": stats.median(few),
            f"{name}.many.rate": stats.median(many),
            f"{name}.many_of_few": stats.median(ratios),
            f"{name}.few.idle_percent": stats.median(idle[size.few]),
        }
        left_idle = stats.median(idle[size.many])
        found["idle_percent"] = max(found["idle_percent"], left_idle)
    return found


async def _resting(server: PostgresServer, size: Size) -> dict[str, float]:
    """Count what workers at rest ask the server: it writes down all that it is asked."""
    url = with_option(server.base_url, "schema=rest")
    _write_down(server.base_url, "all")
    async with AsyncExitStack() as workers:
        for _ in range(size.resting):
            engine = Engine(url, workflows=workflows.waits)
            await workers.enter_async_context(engine)
        await asyncio.sleep(size.settle_s)
        before, began = asked(server), perf_counter()
        await asyncio.sleep(size.rest_s)
        many, took = asked(server) - before, perf_counter() - began
    return {"queries_per_s": many / took}


def asked(server: PostgresServer) -> int:
    """Return how many statements a server has written down."""
    return len(_ASKED.findall((server.folder / "log").read_bytes()))


def _write_down(base_url: str, what: str) -> None:
    with psycopg.connect(base_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE postgres SET log_statement = '{what}'".encode())
