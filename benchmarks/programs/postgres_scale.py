"""
On PostgreSQL: what four workers do more than one, and how soon a result is heard of elsewhere.

Each worker is a process of its own, started by the command that users start. Activities wait
20 ms, and a worker makes so few at a time that waiting is its limit and not the processor, as
on a machine of its own. One worker serves one schema, four serve another on the same server;
both do the same work in turns.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, sleep, time

import psycopg

from benchmarks import stats, workflows
from benchmarks.children import ROOT, Failed
from benchmarks.programs.postgres import SERVER
from obelisk_ops import Engine
from tests.postgres import running, with_option

#: activities at the same time, of each worker
PLACES = 4
ONE, MANY = "one", "many"
_SERVING = """
SELECT (SELECT count(*) FROM {schema}.worker WHERE functions <> '{{}}'),
       (SELECT count(*) FROM {schema}.claimer WHERE functions <> '{{}}')
"""
_PATIENCE_S = 60.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """
    How much is done.

    Attributes:
        workers: How many serve the second schema.
        executions, steps: What clients submit, and how many activities each makes in turn.
        width: How many activities one workflow makes at once.
        turns: How often both schemas do both.
        wakes: How many results are waited for in another process.
        settle_s: How long workers are given to know one another.
    """

    workers: int
    executions: int
    steps: int
    width: int
    turns: int
    wakes: int
    settle_s: float


SIZES = {
    "full": Size(
        workers=4, executions=100, steps=20, width=2000, turns=5, wakes=200, settle_s=6
    ),
    "tiny": Size(workers=1, executions=3, steps=2, width=8, turns=1, wakes=2, settle_s=0),
}
ONCE = True


def measure(_folder: Path, size: Size) -> dict[str, float]:
    with running(SERVER) as server, ExitStack() as workers:
        urls = {name: with_option(server.base_url, f"schema={name}") for name in (ONE, MANY)}
        workers.enter_context(serving(urls[ONE], 1))
        workers.enter_context(serving(urls[MANY], size.workers))
        for name, many in ((ONE, 1), (MANY, size.workers)):
            _until_all_serve(server.base_url, name, many)
        sleep(size.settle_s)
        return asyncio.run(_measure(urls, size))


@contextmanager
def serving(url: str, many: int) -> Iterator[None]:
    """Start workers, each a process; end them."""
    argv = [sys.executable, "-m", "obelisk_ops", "worker", workflows.__name__, "--db", url]
    argv += ["--queue", f"default={PLACES}", "--grace", "0"]
    quiet = subprocess.DEVNULL
    children = [
        subprocess.Popen(argv, cwd=ROOT, stdout=quiet, stderr=quiet) for _ in range(many)
    ]
    try:
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def _until_all_serve(base_url: str, schema: str, many: int) -> None:
    """Return when so many workers take executions, and claim tasks."""
    asked = _SERVING.format(schema=schema)
    until = monotonic() + _PATIENCE_S
    with psycopg.connect(base_url, autocommit=True) as connection:
        while _counted(connection, asked) != (many, many):
            if monotonic() > until:
                raise Failed(f"{many} workers do not serve {schema}")
            sleep(_LOOK_S)


def _counted(connection: psycopg.Connection[tuple[int, ...]], asked: str) -> tuple[int, ...]:
    try:
        return connection.execute(asked.encode()).fetchall()[0]
    except psycopg.errors.UndefinedTable:
        return ()


async def _measure(urls: dict[str, str], size: Size) -> dict[str, float]:
    async with Engine(urls[ONE], serve=False) as one, Engine(urls[MANY], serve=False) as many:
        await _in_turns(one, many, 1, partial(_spread, size))  # to warm up
        spread = await _in_turns(one, many, size.turns, partial(_spread, size))
        fanned = await _in_turns(one, many, size.turns, partial(_fan_out, size))
        heard = stats.prefixed("heard.client", await _heard(one, one, size.wakes))
        async with Engine(urls[ONE], queues=()) as worker:  # it has no executions of its own
            heard |= stats.prefixed("heard.worker", await _heard(one, worker, size.wakes))
    activities = size.executions * size.steps
    return (
        _compared("spread", activities, spread)
        | _compared("fan_out", size.width, fanned)
        | heard
    )


def _compared(
    name: str, activities: int, taken: Sequence[tuple[float, float]]
) -> dict[str, float]:
    """Return activities a second of one worker and of many, and the median of the ratios."""
    return {
        f"{name}.one.rate": activities / stats.median([alone for alone, _ in taken]),
        f"{name}.many.rate": activities / stats.median([among for _, among in taken]),
        f"{name}.ratio": stats.median([alone / among for alone, among in taken]),
    }


async def _in_turns(
    one: Engine, many: Engine, turns: int, job: Callable[[Engine], Awaitable[None]]
) -> list[tuple[float, float]]:
    """Return how many seconds a job takes with one worker and with many, again and again."""
    return [(await _timed(job(one)), await _timed(job(many))) for _ in range(turns)]


async def _timed(job: Awaitable[None]) -> float:
    began = perf_counter()
    await job
    return perf_counter() - began


async def _spread(size: Size, client: Engine) -> None:
    """Submit many executions, and wait for all of them."""
    handles = [await client.submit(workflows.waits, size.steps) for _ in range(size.executions)]
    for handle in handles:
        await handle.result()


async def _fan_out(size: Size, client: Engine) -> None:
    """Submit one execution that makes many activities at once."""
    handle = await client.submit(workflows.fans_out, size.width)
    if await handle.result() != size.width:
        raise Failed("not all of them were made")


async def _heard(client: Engine, waiter: Engine, count: int) -> dict[str, float]:
    """Return how late who waits hears of an end, from the end of the last activity on."""
    late = []
    for _ in range(count):
        submitted = await client.submit(workflows.waits, 1)
        ended = await waiter.handle(submitted.id).result()
        late.append(time() - ended)
    return stats.latencies(late)
