"""Two versions of the code are live, as while a new one is rolled out; each in processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from obelisk_ops import Engine
from obelisk_ops.core.ports import State
from tests.engines import until
from tests.fault.test_workers import Workshop, workshop
from tests.fault.versions import changed, fresh
from tests.postgres import Postgres
from tests.support import PATIENCE_S


def test_what_only_the_new_code_knows_and_what_only_the_old_code_fits(
    postgres: Postgres, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    async def main(shop: Workshop) -> None:
        async with Engine(shop.url, serve=False) as client:
            old = shop.start("", "old", code="versions")
            shop.await_up(old)
            tree = await client.submit(changed, str(gate), id="t")
            await until(lambda: shop.pid_of("t/") == old.pid, "the old code runs it")

            new = shop.start("", "new", code="versions")
            shop.await_up(new)
            assert await (await client.submit(fresh, 1, id="f")).result() == 2
            assert shop.pid_of("f/") == new.pid, "no other has its code"

            before = tree.events()
            shop.end(old)
            await until(
                lambda: tree.status().state is State.PARKED, "the new code does not fit"
            )
            assert [one.kind for one in tree.events()[len(before) :]] == ["parked"]
            assert shop.pid_of("t/") == old.pid, "nothing of it was done again"

            older = shop.start("", "old", code="versions")
            shop.await_up(older)
            shop.end(new)
            await until(lambda: shop.pid_of("t/") == older.pid, "the old code goes on")
            gate.touch()
            assert await tree.result() == "old"

    with postgres.lent() as url, workshop(url, tmp_path / "shop", many=0) as shop:
        asyncio.run(asyncio.wait_for(main(shop), 2 * PATIENCE_S))
