"""An engine on PostgreSQL: kills of its process, and of what it stands on; under load."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from obelisk_ops import Engine, activity, workflow
from obelisk_ops.errors import DatabaseNotFound
from obelisk_ops.storage import Address, as_address
from obelisk_ops.storage.postgres import place
from tests.fault.blows import Blow, crash, restart
from tests.fault.test_kill import (
    Account,
    kill_and_check,
    nothing_is_missing_and_nothing_done_too_often,
    seed,
    the_tables_fit_the_log,
)
from tests.postgres import Postgres, cut, fresh_url, running
from tests.support import wait_until


def test_a_few_kills_of_its_process(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.lent() as one, postgres.lent() as other:
        kill_and_check(tmp_path, 5, [place.read(one), place.read(other)])


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_two_hundred_kills_of_its_process(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.lent() as one, postgres.lent() as other:
        kill_and_check(tmp_path, 200, [place.read(one), place.read(other)])


def test_it_outlives_its_connections_and_its_server(tmp_path: Path) -> None:
    strike(tmp_path, [cut, restart, cut, crash], count=8)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_it_outlives_a_hundred_blows(tmp_path: Path) -> None:
    chosen = seed()
    print(f"OBELISK_OPS_TEST_SEED={chosen}")  # noqa: T201 - to repeat a failure
    dice = random.Random(chosen)
    strike(tmp_path, dice.choices([cut, restart, crash], weights=[6, 1, 1], k=100), count=150)


def strike(folder: Path, blows: Sequence[Blow], *, count: int) -> None:
    """Let an engine work, and strike what it stands on; after each blow it has to go on."""
    with running() as server:
        database: Address = as_address(fresh_url(server.base_url))
        account = Account(database, folder / "side")
        account.side.touch()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                account.run(0, count, kill_after_s=None)
            except BaseException as error:  # noqa: BLE001 - told by the test
                failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        for blow in blows:
            goes_on = partial(has_gone_on, account, worker, len(account.lines()))
            wait_until(goes_on, 60, "the engine goes on")
            blow(server)
        worker.join()
        assert failures == []
        nothing_is_missing_and_nothing_done_too_often(account)
        the_tables_fit_the_log(database)


def has_gone_on(account: Account, worker: threading.Thread, seen: int) -> bool:
    return len(account.lines()) > seen + 3 or not worker.is_alive()


@activity
async def hold(n: int) -> int:
    """Give others time."""
    await asyncio.sleep(0.01)
    return n


@workflow
async def endless() -> int:
    """Take steps until it is stopped."""
    n = 0
    while True:
        n = await hold(n + 1)


def test_an_engine_at_rest_notices_that_its_tables_are_gone(postgres: Postgres) -> None:
    async def main(url: str) -> None:
        async with Engine(url, workflows=[endless]) as engine:
            assert engine._owner is not None
            session = engine._owner.store._session  # type: ignore[attr-defined]
            session.drop()
            postgres.psql(f"DROP SCHEMA {place.read(url).schema} CASCADE")
            with pytest.raises(DatabaseNotFound):
                await asyncio.wait_for(engine.failed(), 60)

    asyncio.run(main(postgres.fresh_url()))
