"""
Kills around PostgreSQL: of the owner, of its connection, of the server; under load.

Nothing that was acknowledged is lost, nothing is there twice, and no log has a hole.
OBELISK_OPS_TEST_SEED repeats a run; the seed of each run is printed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.store import PostgresReader
from tests.fault.blows import Blow, crash, restart
from tests.postgres import Postgres, cut, fresh_url, running

SCRIPT = Path(__file__).with_name("postgres_doomed.py")
ENDLESS = 1_000_000


@contextmanager
def doomed(url: str, count: int) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, str(SCRIPT), url, str(count)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        if owner.stdout.readline() != "up\n":
            pytest.fail(f"the owner did not come up: {owner.communicate()[1]}")
        try:
            yield owner
        finally:
            owner.kill()


def hear(owner: subprocess.Popen[str], many: int) -> list[int]:
    """Return the next numbers that the owner says were acknowledged."""
    assert owner.stdout is not None
    lines = [owner.stdout.readline() for _ in range(many)]
    if not all(lines):
        assert owner.stderr is not None
        pytest.fail(f"the owner ended: {owner.stderr.read()}")
    return [int(line) for line in lines]


def settle(url: str, acknowledged: list[int]) -> None:
    """Hold the logs against what was acknowledged."""
    with closing(PostgresReader(place.read(url))) as reader:
        for key in (1, 2, 3):
            log = reader.log(key)
            expected = [number for number in acknowledged if key == 1 or number % 3 == 0]
            numbers = [int(event.body) for event in log]
            assert [event.version for event in log] == list(range(len(log)))
            assert numbers[: len(expected)] == expected
            assert len(numbers) <= len(expected) + 1  # one that was not heard of any more


def test_an_owner_that_is_killed_loses_nothing_it_acknowledged(postgres: Postgres) -> None:
    _kill_owners(postgres, lives=6)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_two_hundred_owners_are_killed(postgres: Postgres) -> None:
    _kill_owners(postgres, lives=200)


def _kill_owners(server: Postgres, lives: int) -> None:
    dice = _dice()
    with server.lent() as url:
        told: list[int] = []
        for _ in range(lives):
            with doomed(url, ENDLESS) as owner:
                told += hear(owner, dice.randrange(1, 60))
                owner.kill()
                assert owner.stdout is not None
                rest = owner.stdout.read().split("\n")[:-1]  # a line that was cut is none
            told = _with_the_unheard(url, [*told, *map(int, rest)])


def _with_the_unheard(url: str, told: list[int]) -> list[int]:
    """Return what is there: at most one more than was acknowledged, and never less."""
    settle(url, told)
    with closing(PostgresReader(place.read(url))) as reader:
        return [int(event.body) for event in reader.log(1)]


def test_an_owner_outlives_its_connection_and_its_server() -> None:
    _strike([cut, cut, restart, crash])


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_an_owner_outlives_two_hundred_blows() -> None:
    dice = _dice()
    _strike(dice.choices([cut, restart, crash], weights=[6, 1, 1], k=200))


def _strike(blows: list[Blow]) -> None:
    dice = _dice()
    with running() as server:
        url = fresh_url(server.base_url)
        with doomed(url, ENDLESS) as owner:
            told: list[int] = []
            for blow in blows:
                told += hear(owner, dice.randrange(1, 200))
                blow(server)
            told += hear(owner, 1000)
            owner.kill()
            assert owner.stdout is not None
            told += [int(line) for line in owner.stdout.read().split("\n")[:-1]]
        assert told == list(range(len(told)))
        settle(url, told)


def _dice() -> random.Random:
    seed = int(os.environ.get("OBELISK_OPS_TEST_SEED") or random.randrange(2**32))
    print(f"OBELISK_OPS_TEST_SEED={seed}")  # noqa: T201 - to repeat a failure
    return random.Random(seed)
