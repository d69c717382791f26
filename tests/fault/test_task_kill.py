"""Owners and workers of tasks, each a process of its own, killed while they work."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.storage import as_address, open_reader
from tests import command
from tests.commands import run_here
from tests.fault.test_kill import seed, the_tables_fit_the_log
from tests.postgres import Postgres
from tests.support import wait_until

CODE = Path(__file__).with_name("fetching.py")
STEPS = 12


class Site:
    """One owner, some workers, and what their activities have noted."""

    def __init__(self, url: str, folder: Path, workers: int) -> None:
        self.url, self.side = url, folder / "side"
        self.side.touch()
        self.names: list[str] = []
        self.owner = self._start()
        self.workers = [
            self._start("--queue", "gpu=3", "--only-activities") for _ in range(workers)
        ]

    def _start(self, *more: str) -> subprocess.Popen[str]:
        return command.start("worker", CODE, "--db", self.url, "--grace", "20", *more)

    def submit(self) -> None:
        self.names.append(name := f"e{len(self.names)}")
        asked = ("execution", "submit", f"{CODE}:fetches", f'"{self.side}"', str(STEPS))
        assert run_here(*asked, "--db", self.url, "--id", name).status == 0

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.side.read_text().splitlines()]

    def goes_on(self, by: int = 3) -> None:
        seen = len(self.lines())
        wait_until(
            lambda: len(self.lines()) >= seen + by or not self.unfinished(), 60, "it goes on"
        )

    def unfinished(self) -> list[str]:
        with closing(open_reader(as_address(self.url))) as reader:
            rows = reader.executions(ExecutionFilter(state="finished", limit=1000))
        return sorted({*self.names} - {row.id for row in rows})

    def kill_owner(self) -> None:
        end(self.owner)
        self.owner = self._start()

    def kill_worker(self, number: int) -> int:
        """Kill a worker, and return its process id."""
        killed = self.workers[number]
        end(killed)
        self.workers[number] = self._start("--queue", "gpu=3", "--only-activities")
        return killed.pid

    def close(self) -> None:
        for process in (self.owner, *self.workers):
            process.send_signal(signal.SIGTERM)
        for process in (self.owner, *self.workers):
            # One that was started a moment ago knows no signal yet.
            assert command.outcome(process, 60).status in (0, -signal.SIGTERM)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@contextmanager
def site(url: str, folder: Path, *, workers: int = 2) -> Iterator[Site]:
    made = Site(url, folder, workers)
    try:
        yield made
        made.close()
    finally:
        for process in (made.owner, *made.workers):
            if process.poll() is None:
                end(process)


def settle(made: Site, killed: set[str]) -> None:
    """Wait for the end of all, and compare what is on record with what was done."""
    wait_until(lambda: not made.unfinished(), 120, "all is finished")
    for name in made.names:
        result = run_here("execution", "result", name, "--db", made.url)
        assert result.told == list(range(STEPS))
    begun = Counter(call for word, call, _ in made.lines() if word == "begin")
    paid = Counter(call for word, call, _ in made.lines() if word == "pay")
    cut_short = Counter(
        call for word, call, pid in made.lines() if word == "begin" and pid in killed
    )
    assert max(paid.values()) == 1
    too_often = {c: many for c, many in begun.items() if many > 1 + cut_short[c]}
    assert too_often == {}, "only what its worker's death has cut short is done again"


def test_kills_of_the_owner_and_of_a_worker(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.lent() as url:
        with site(url, tmp_path) as made:
            for _ in range(3):
                made.submit()
            made.goes_on()
            made.kill_owner()
            made.goes_on()
            settle(made, {str(made.kill_worker(0))})
        the_tables_fit_the_log(as_address(url))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_forty_kills(postgres: Postgres, tmp_path: Path) -> None:
    chosen = seed()
    print(f"OBELISK_OPS_TEST_SEED={chosen}")  # noqa: T201 - to repeat a failure
    dice = random.Random(chosen)
    killed: set[str] = set()
    with postgres.lent() as url:
        with site(url, tmp_path, workers=3) as made:
            for number in range(40):
                for _ in range(3):
                    made.submit()
                made.goes_on(dice.randrange(1, 12))
                if dice.random() < 0.4:
                    made.kill_owner()
                else:
                    killed.add(str(made.kill_worker(number % 3)))
            settle(made, killed)
        the_tables_fit_the_log(as_address(url))
