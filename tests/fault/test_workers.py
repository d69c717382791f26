"""
Several workers on one server: kills, standstills and cuts, under load.

Nothing that was acknowledged is lost or done again, nothing is left that nobody goes on with.
OBELISK_OPS_TEST_SEED repeats a run; the seed of each run is printed.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from obelisk_ops import Engine
from obelisk_ops.core.fold import fold
from obelisk_ops.core.ports import ExecutionFilter, State
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage import open_reader
from obelisk_ops.storage.postgres import place
from tests.cable import Cable, cable
from tests.engines import until
from tests.fault.blows import (
    Blow,
    behead,
    crash,
    crowd,
    fill,
    lose_a_process,
    restart,
    url_of_a_role,
)
from tests.fault.test_kill import seed
from tests.fault.working import errand, go, held
from tests.postgres import Postgres, cut, fresh_url, running
from tests.support import PATIENCE_S, wait_until

T = TypeVar("T")

_ERRANDS = 20

SCRIPT = Path(__file__).with_name("working.py")


@dataclass
class Workshop:
    """Workers, and what they did."""

    url: str
    folder: Path
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def side(self) -> Path:
        return self.folder / "side"

    def start(self, url: str = "", *more: str, code: str = "working") -> subprocess.Popen[str]:
        log = (self.folder / "log").open("a")
        given = (url or self.url, str(self.side), *more)
        worker = subprocess.Popen(
            [sys.executable, "-m", f"tests.fault.{code}", *given],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            cwd=SCRIPT.parents[2],
        )  # fmt: skip
        log.close()
        self.workers.append(worker)
        return worker

    def await_up(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        if worker.stdout.readline() != "up\n":
            pytest.fail(f"a worker did not come up: {(self.folder / 'log').read_text()}")

    def end(self, worker: subprocess.Popen[str]) -> None:
        worker.communicate()
        self.workers.remove(worker)

    def kill(self, worker: subprocess.Popen[str]) -> None:
        worker.kill()
        worker.communicate()
        self.workers.remove(worker)

    def begin_anew(self) -> int:
        """Start again who has ended, as a service manager does; return how many those were."""
        ended = [worker for worker in self.workers if worker.poll() is not None]
        for worker in ended:
            self.end(worker)
            self.start()
        return len(ended)

    def lines(self) -> list[list[str]]:
        text = self.side.read_text() if self.side.exists() else ""
        return [line.split() for line in text.splitlines()]

    def pid_of(self, name: str) -> int:
        """Return which process has a call that runs."""
        found = [int(pid) for what, call, _, pid in self.lines() if call.startswith(name)]
        return found[-1] if found else 0

    def nothing_is_lost_or_done_again(self, many: int) -> None:
        starts = Counter((c, n) for what, c, n, _ in self.lines() if what == "start")
        assert set(starts.values()) == {1}, "an attempt is on record before it starts"
        with closing(open_reader(place.read(self.url))) as reader:
            rows = reader.executions(ExecutionFilter(limit=100_000))
            assert len(rows) == 2 * many
            assert {row.state for row in rows} == {State.FINISHED}
            assert reader.letters(10) == []
            for row in rows:
                log = reader.log(row.key)
                assert [event.version for event in log] == list(range(len(log)))
                story = fold(log)
                assert story.has_ended
                for n, call in story.calls.items():
                    if call.kind == "activity":
                        tries = [int(t) for c, t in starts if c == f"{row.id}/{n}"]
                        assert max(tries) == call.attempts, "none after it has returned"


@contextmanager
def workshop(url: str, folder: Path, *, many: int) -> Iterator[Workshop]:
    folder.mkdir(exist_ok=True)
    opened = Workshop(url, folder)
    try:
        for worker in [opened.start() for _ in range(many)]:
            opened.await_up(worker)
        yield opened
    finally:
        for worker in opened.workers:
            worker.kill()
            worker.communicate()


def under_load(url: str, meanwhile: Callable[[], None]) -> int:
    """Submit errands while *meanwhile* has something to do; see all end; return how many."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(asyncio.run, load(url, stop))
        try:  # in this thread: a server that another one starts ends with it
            meanwhile()
        finally:
            stop.set()
        return submitted.result()


async def load(url: str, stop: threading.Event) -> int:
    many = 0
    async with Engine(url, serve=False) as client:
        while many < _ERRANDS or not stop.is_set():
            await patiently(partial(client.submit, errand, many, id=f"e{many}"))
            await asyncio.sleep(0.1)
            many += 1
        for n in range(many):
            assert await patiently(lambda: client.handle(f"e{n}").result()) == n + 3  # noqa: B023
    return many


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the server is away."""
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                return await call()
            except StorageUnavailable:
                await asyncio.sleep(0.05)


def kill_some(shop: Workshop, kills: int) -> None:
    """Kill one after the other; the clocks of those that take their places are hours apart."""
    chosen = seed()
    print(f"OBELISK_OPS_TEST_SEED={chosen}")  # noqa: T201 - to repeat a failure
    dice = random.Random(chosen)
    for _ in range(kills):
        seen, more = len(shop.lines()), dice.randrange(1, 20)
        wait_until(lambda: len(shop.lines()) >= seen + more, 60, "they work")  # noqa: B023
        shop.kill(dice.choice(shop.workers))
        shop.start("", str(dice.randrange(-9, 10)))  # it comes up beside what is going on


def kill_and_check(server: Postgres, folder: Path, kills: int) -> None:
    url = server.fresh_url()
    with workshop(url, folder, many=3) as shop:
        many = under_load(url, lambda: kill_some(shop, kills))
        shop.nothing_is_lost_or_done_again(many)


def test_random_workers_are_killed_under_load(postgres: Postgres, tmp_path: Path) -> None:
    kill_and_check(postgres, tmp_path, kills=2)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("round_", range(20))
def test_two_hundred_workers_are_killed(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    kill_and_check(postgres, tmp_path, kills=10)


def let_the_lease_end(url: str, pid: int, when: str = "now") -> None:
    """As if a worker had been silent for so long; or let it last."""
    at = place.read(url)
    with psycopg.connect(at.url, autocommit=True) as connection:
        statement = f"UPDATE {at.schema}.worker SET lease_until = '{when}' WHERE pid = {pid}"  # noqa: S608
        connection.execute(statement.encode())


@contextmanager
def standstill(worker: subprocess.Popen[str], _line: Cable) -> Iterator[None]:
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


@contextmanager
def cut_off(_worker: subprocess.Popen[str], line: Cable) -> Iterator[None]:
    line.hold()
    try:
        yield
    finally:
        line.release()


Silence = Callable[[subprocess.Popen[str], Cable], AbstractContextManager[None]]


def test_a_worker_that_was_silent_for_longer_than_its_lease_writes_nothing(
    tmp_path: Path,
) -> None:
    """Another one goes on; the one that was silent joins again, and drops what it held."""
    with running() as server, cable(server.folder) as (line, beginning):
        for silence in (standstill, cut_off):
            url = fresh_url(server.base_url)
            far = url.replace(str(server.folder), str(beginning))
            with workshop(url, tmp_path / silence.__name__, many=0) as shop:
                shop.await_up(shop.start(far))
                silent = be_silent(shop, line, silence)
                asyncio.run(asyncio.wait_for(silent, 2 * PATIENCE_S))


async def be_silent(shop: Workshop, line: Cable, silence: Silence) -> None:
    [first] = shop.workers
    gate, log = shop.folder / "gate", shop.folder / "log"
    async with Engine(shop.url, serve=False) as client:
        handle = await client.submit(held, str(gate), id="h")
        await until(lambda: shop.pid_of("h/") == first.pid, "it runs")
        shop.await_up(shop.start())
        with silence(first, line):
            let_the_lease_end(shop.url, first.pid)
            await until(lambda: shop.pid_of("h/") != first.pid, "it is adopted")
        gate.touch()
        await until(lambda: "joins_again" in log.read_text(), "it joins again")
        await handle.signal(go, 1)
        assert await handle.result() == str(gate)
        returned = [one for one in handle.events() if one.kind == "returned"]
        assert len(returned) == 1
        shop.end(next(one for one in shop.workers if one.pid == shop.pid_of("h/")))
        # Who joined again does the rest.
        assert await (await client.submit(errand, 1, id="e")).result() == 4


def strike(folder: Path, blows: Sequence[Blow]) -> int:
    """
    Strike what several workers stand on; after each blow they have to go on.

    Returns:
        How many have given up meanwhile, for the server was away too long.
    """
    ended = 0
    with running() as server:
        url = url_of_a_role(server)

        def goes_on(seen: int) -> bool:
            nonlocal ended
            ended += shop.begin_anew()
            return len(shop.lines()) > seen + 5

        def meanwhile() -> None:
            for blow in [*blows, cut]:
                wait_until(partial(goes_on, len(shop.lines())), 180, "they work")
                print(blow.__name__)  # noqa: T201 - what it was
                blow(server)

        with workshop(url, folder, many=3) as shop:
            shop.nothing_is_lost_or_done_again(under_load(url, meanwhile))
    return ended


def test_workers_outlive_their_connections_and_their_server(tmp_path: Path) -> None:
    assert strike(tmp_path / "shop", [crowd, crash]) == 0


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_workers_outlive_a_hundred_blows(tmp_path: Path) -> None:
    """PostgreSQL itself may wait a minute for itself, where its log found no room."""
    chosen = seed()
    print(f"OBELISK_OPS_TEST_SEED={chosen}")  # noqa: T201 - to repeat a failure
    blows = [cut, crowd, restart, crash, behead, lose_a_process, fill]
    strike(tmp_path / "shop", random.Random(chosen).choices(blows, k=100))
