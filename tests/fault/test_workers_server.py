"""
A server that undoes what it likes, has no room on its disk, or ends while a worker begins.

Several workers, each a process, go on as soon as it lets them, and do nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from obelisk_ops import Engine
from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage.postgres import making, place
from obelisk_ops.storage.postgres.store import PostgresStore
from tests import command
from tests.commands import run_here
from tests.engines import until
from tests.fault.blows import (
    Blow,
    ask,
    crash,
    full,
    is_held_up,
    locked,
    restart,
    said,
    url_of_a_role,
)
from tests.fault.test_workers import Workshop, kill_some, under_load, workshop
from tests.fault.working import errand, go, held
from tests.postgres import Postgres, PostgresServer, cut, running
from tests.support import PATIENCE_S, wait_until

CODE = Path(__file__).with_name("fetching.py")

_UNDOES = """
CREATE FUNCTION {0}.undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF random() < (CASE TG_LEVEL WHEN 'ROW' THEN 0.002 ELSE 0.03 END) THEN
        RAISE EXCEPTION 'undone by the test'
        USING ERRCODE = (ARRAY['40001', '40P01', '53100'])[1 + floor(3 * random())::integer];
    END IF;
    RETURN NULL;
END $$
"""
_AT_ONCE = """
CREATE TRIGGER undo AFTER INSERT OR UPDATE OR DELETE ON {0}.{1}
FOR EACH STATEMENT EXECUTE FUNCTION {0}.undo()
"""
_AT_COMMIT = """
CREATE CONSTRAINT TRIGGER undo_late AFTER INSERT OR UPDATE ON {0}.{1}
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {0}.undo()
"""


def let_it_undo(server: PostgresServer, schema: str) -> None:
    """Undo transactions by chance: at a statement, or at their end."""
    ask(server, _UNDOES.format(schema))
    for table in ("log", "state", "mailbox", "worker", "inbox", "timer"):
        ask(server, _AT_ONCE.format(schema, table))
    for table in ("log", "mailbox"):
        ask(server, _AT_COMMIT.format(schema, table))


def undo_under_load(folder: Path, meanwhile: Callable[[Workshop], None]) -> None:
    with running() as server:
        ask(server, "ALTER DATABASE postgres SET default_transaction_isolation = serializable")
        url = url_of_a_role(server)
        with workshop(url, folder, many=3) as shop:
            let_it_undo(server, place.read(url).schema)

            def until_enough() -> None:
                meanwhile(shop)
                wait_until(lambda: said(server, "undone by the test") >= 10, 60, "it undoes")

            many = under_load(url, until_enough)
            ask(server, f"DROP FUNCTION {place.read(url).schema}.undo CASCADE")
            shop.nothing_is_lost_or_done_again(many)


def test_what_a_server_undoes_is_done_again_as_a_whole(tmp_path: Path) -> None:
    undo_under_load(tmp_path / "shop", lambda _shop: None)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("round_", range(5))
def test_a_server_undoes_what_it_likes_while_workers_are_killed(
    tmp_path: Path, round_: int
) -> None:
    undo_under_load(tmp_path / "shop", lambda shop: kill_some(shop, 10))


def test_a_server_whose_disk_has_no_room_for_rows_is_waited_for(tmp_path: Path) -> None:
    """The server lives, and refuses what would make the file of a table longer."""

    async def main(server: PostgresServer, shop: Workshop) -> None:
        at = place.read(shop.url)
        [(file,)] = ask(server, f"SELECT pg_relation_filepath('{at.schema}.log')")
        folder, _, name = str(file).rpartition("/")
        log = shop.folder / "log"
        async with Engine(shop.url, serve=False) as client:
            with full(server, folder, name):
                shop.await_up(shop.start())
                handle = await client.submit(errand, 1, id="e0")
                await until(lambda: "commit_failed" in log.read_text(), "it says so")
                assert "No space left on device" in log.read_text()
                assert shop.lines() == [], "nothing is done that is not on record"
            cut(server)  # each process of the server had the file open
            assert await handle.result() == 4
            await until(lambda: "commits_again" in log.read_text(), "it says so, too")

    with running() as server:
        url = url_of_a_role(server)
        making.make_if_missing(place.read(url))
        with workshop(url, tmp_path / "shop", many=0) as shop:
            asyncio.run(asyncio.wait_for(main(server, shop), 2 * PATIENCE_S))
            shop.nothing_is_lost_or_done_again(1)


@pytest.mark.chaos
def test_a_worker_that_has_waited_too_long_says_why_it_ends(tmp_path: Path) -> None:
    def submit() -> None:
        asked = ("execution", "submit", f"{CODE}:fetches", f'"{tmp_path}"', "0", "--id", "a")
        assert run_here(*asked, "--db", url).status == 0

    with running() as server:
        url = url_of_a_role(server)
        at = place.read(url)
        making.make_if_missing(at)
        [(file,)] = ask(server, f"SELECT pg_relation_filepath('{at.schema}.log')")
        folder, _, name = str(file).rpartition("/")
        with full(server, folder, name):
            worker = command.start("worker", CODE, "--db", url)
            submit()
            ended = command.outcome(worker, PATIENCE_S)
            assert ended.status == StorageUnavailable.exit_status
            assert "No space left on device" in ended.err
            assert "free some space on the server" in ended.err
        cut(server)
        worker = command.start("worker", CODE, "--db", url)
        try:
            found = run_here("execution", "result", "a", "--wait", "--db", url)
            assert (found.status, found.told) == (0, [])
        finally:
            worker.terminate()
            command.outcome(worker)


def killed_while_held_up(
    server: PostgresServer, shop: Workshop, blow: Blow, words: str, begin: Callable[[], object]
) -> None:
    """Let something begin that comes as far as a statement; then strike the server."""
    with locked(server, f"{place.read(shop.url).schema}.state"):
        begin()
        wait_until(lambda: is_held_up(server, words), 60, "it waits for the server")
        blow(server)


@pytest.mark.parametrize("blow", [crash, pytest.param(restart, marks=pytest.mark.chaos)])
def test_a_server_ends_while_a_worker_recovers(tmp_path: Path, blow: Blow) -> None:
    gate = tmp_path / "gate"

    async def main(server: PostgresServer, shop: Workshop) -> None:
        [first] = shop.workers
        async with Engine(shop.url, serve=False) as client:
            await client.submit(held, str(gate), id="h")
            await until(lambda: shop.pid_of("h/") == first.pid, "it runs")
            shop.kill(first)
            killed_while_held_up(server, shop, blow, "SELECT", shop.start)
            await until(lambda: shop.pid_of("h/") == shop.workers[0].pid, "it goes on")
            gate.touch()
            await finish(client)

    act(tmp_path, main, many=1)


@pytest.mark.chaos
@pytest.mark.parametrize("blow", [crash, restart])
def test_a_server_ends_while_a_worker_is_adopted(tmp_path: Path, blow: Blow) -> None:
    gate = tmp_path / "gate"

    async def main(server: PostgresServer, shop: Workshop) -> None:
        async with Engine(shop.url, serve=False) as client:
            await client.submit(held, str(gate), id="h")
            await until(lambda: shop.pid_of("h/"), "it runs")
            [first] = [one for one in shop.workers if one.pid == shop.pid_of("h/")]
            words = "UPDATE state SET worker"
            killed_while_held_up(server, shop, blow, words, lambda: shop.kill(first))
            await until(lambda: shop.pid_of("h/") == shop.workers[0].pid, "it is adopted")
            gate.touch()
            await finish(client)

    act(tmp_path, main, many=2)


async def finish(client: Engine) -> None:
    """Let what is held end."""
    handle = client.handle("h")
    async with asyncio.timeout(PATIENCE_S):
        await handle.signal(go, 1)
        await handle.result()


def act(folder: Path, main: Callable[..., object], *, many: int) -> None:
    with running() as server:
        url = url_of_a_role(server)
        with workshop(url, folder / "shop", many=many) as shop:
            asyncio.run(asyncio.wait_for(main(server, shop), 3 * PATIENCE_S))  # type: ignore[arg-type]
            begun = [attempt for what, _, attempt, _ in shop.lines() if what == "start"]
            assert begun == ["1", "2"], "once before the kill, once after"


class Panicked(psycopg.errors.DiskFull):
    """As of a server that cannot write its log: it says so, and ends."""

    diag = SimpleNamespace(  # type: ignore[assignment]
        severity_nonlocalized="PANIC", constraint_name=None, message_primary="no room"
    )


@pytest.mark.parametrize("arrives", [True, False])
def test_what_a_server_says_last_of_a_commit_is_not_believed(
    postgres: Postgres,
    arrives: bool,  # noqa: FBT001
) -> None:
    """It may have written all of it before it found no room for the rest."""
    with postgres.lent() as url, closing(PostgresStore(place.read(url))) as store:
        row = StateRow(key=1, id="a", function="m.f", state=State.RUNNING, created_at=1)
        store.commit([Write(1, [(1, 0, 5, "created", "{}")], created=[row])])
        own: Any = store._session
        run = own.run_one

        def panics(*args: Any) -> None:
            own.run_one = run
            if arrives:
                run(*args)
            raise Panicked

        own.run_one = panics
        step = [Write(1, [(1, 1, 5, "returned", "{}")])]
        with pytest.raises(StorageUnavailable, match="no room"):
            store.commit(step)
        assert store.commit(step) == {}
        assert len(store.log(1)) == 2
