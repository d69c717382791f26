"""
Behind a pooler that gives each transaction another connection: all works, and nothing is left.

Each connection of the server is everybody's there. The tests run with a pooler of their own
that hands them out by chance, and with PgBouncer where it is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from obelisk_ops import Engine
from obelisk_ops.core import workers
from obelisk_ops.core.ports import LogRow, State, StateRow, Write
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import ConfigError, ExecutionCancelled, Fenced, StorageUnavailable
from obelisk_ops.storage.postgres import making, migrating, place, session
from obelisk_ops.storage.postgres.store import PostgresStore
from tests import pgbouncer
from tests.commands import run_here
from tests.engines import looped, until
from tests.fault.test_workers import kill_some, let_the_lease_end, under_load, workshop
from tests.fault.working import go, held
from tests.integration.test_postgres_migrating import ADDS
from tests.integration.test_workers import has, naps, noted, parent, waits
from tests.pooler import SIZE, Pooler, pooling
from tests.postgres import Postgres, with_option
from tests.support import PATIENCE_S, wait_until
from tests.tasked import owner, squares, worker

#: what a session keeps, and what of it is left on a connection that somebody else is given next
_LEFT = """
SELECT pg_backend_pid(), current_setting('search_path'), current_setting('lock_timeout'),
    (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_prepared_statements),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""
_HEEDED = (
    "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')"
)
_NOTHING = ('"$user", public', "0", 0, 0, 0)
BOTH = ["ours", *(["pgbouncer"] if pgbouncer.PROGRAM else [])]


@pytest.fixture(scope="module", params=BOTH)
def before(request: pytest.FixtureRequest, postgres: Postgres, pooler: Pooler) -> Iterator[str]:
    """The URL of a pooler, without a schema."""
    if request.param == "ours":
        yield pooler.base_url
        return
    with pgbouncer.pgbouncing(postgres.base_url) as url:
        yield url


@pytest.fixture
def direct(postgres: Postgres) -> Iterator[str]:
    with postgres.lent() as url:
        yield url


@pytest.fixture
def url(before: str, direct: str) -> Iterator[str]:
    """An empty schema, by way of a pooler on which nothing is left afterwards."""
    yield with_option(before, f"schema={place.read(direct).schema}")
    nothing_is_left(before)


@pytest.fixture
def ours(pooler: Pooler, direct: str) -> Iterator[str]:
    """The same, by way of our own pooler."""
    yield pooler.through(direct)
    wait_until(lambda: pooler.held == 0, 30, "nobody keeps a connection")
    nothing_is_left(pooler.base_url)


def nothing_is_left(before: str) -> None:
    """Look at all connections of the server at the same time."""
    with ExitStack() as stack:
        seen = {}
        for _ in range(SIZE):
            line = stack.enter_context(psycopg.connect(before, prepare_threshold=None))
            [(pid, *left)] = line.execute(_LEFT.encode()).fetchall()
            seen[pid] = tuple(left)
    assert set(seen.values()) == {_NOTHING}
    assert len(seen) == SIZE


@asynccontextmanager
async def working(url: str, *, many: int = 2) -> AsyncIterator[list[Engine]]:
    async with AsyncExitStack() as stack:
        flows: list[Workflow[..., Any]] = [noted, waits, parent, naps, held]
        engines = [Engine(url, workflows=flows) for _ in range(many)]
        yield [await stack.enter_async_context(engine) for engine in engines]


def is_pooled(url: str) -> bool:
    with closing(session.connect(place.read(url))) as line:
        return line.is_pooled


def test_a_pooler_is_known_or_told(before: str, direct: str) -> None:
    assert (is_pooled(before), is_pooled(direct)) == (True, False)
    for url in (before, direct):
        assert is_pooled(with_option(url, "pooler=transaction"))
    assert not is_pooled(with_option(direct, "pooler=session"))


@looped
async def all_kinds(url: str) -> None:
    async with working(url) as [one, other], Engine(url, serve=False) as client:
        handles = [await client.submit(noted, f"e{n}", id=f"e{n}") for n in range(10)]
        assert [await handle.result() for handle in handles] == [f"e{n}" for n in range(10)]
        mine = await one.submit(waits, "a", id="a")
        await one.submit(parent, "p", id="p")
        await one.schedule(noted, "s", every=timedelta(hours=1), id="s")
        for engine in (other, client):
            assert await engine.handle("a").pause()
            await until(lambda: mine.status().state is State.PAUSED, "it is paused")
            assert await engine.handle("a").unpause()
        assert await client.handle("a").signal(go, 7)
        assert await other.handle("a").result() == await mine.result() == 7
        doomed = await other.submit(waits, "c", id="c")
        assert await client.handle("c").cancel()
        with pytest.raises(ExecutionCancelled):
            await doomed.result()
        assert await (await client.submit(naps, "n", id="n")).result() == "n"
        assert await (await client.schedule_handle("s").trigger()).result() == "s"
        await one.__aexit__(None, None, None)
        assert other._owner is not None
        other._owner._mailroom.look_soon()
        await until(lambda: has(other, "p"), "it is adopted")
        (child,) = [row for row in client.list() if row.id.startswith("p/")]
        assert await client.handle(child.id).signal(go, 5)
        assert await client.handle("p").result() == 5


def test_workers_and_clients_do_all_they_do(url: str) -> None:
    all_kinds(url)


@looped
async def on_another(url: str) -> None:
    async with owner(url) as engine, worker(url):
        handle = await engine.submit(squares, 7, id="a")
        assert await handle.result() == [n * n for n in range(7)]


def test_attempts_are_made_by_another_worker(ours: str) -> None:
    on_another(ours)


def test_some_may_come_by_the_pooler_and_others_not(ours: str, direct: str) -> None:
    async def main() -> None:
        async with working(ours, many=1) as [one], working(direct, many=1) as [other]:
            for mine, its, name in ((one, other, "a"), (other, one, "b")):
                await mine.submit(waits, name, id=name)
                assert await its.handle(name).signal(go, 3)
                assert await its.handle(name).result() == 3

    asyncio.run(main())


def test_a_worker_that_is_killed_is_known_by_its_lease_alone(
    ours: str, direct: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patience in ("GRACE_MS", "TTL_MS"):  # with connections, and with a server that came up
        monkeypatch.setattr(workers, patience, 0)

    async def main() -> None:
        with workshop(ours, tmp_path, many=1) as shop:
            [doomed] = shop.workers
            async with Engine(ours, serve=False) as client:
                handle = await client.submit(held, str(tmp_path / "gate"), id="h")
                await until(lambda: shop.pid_of("h/") == doomed.pid, "it runs")
                async with working(direct, many=1) as [other]:
                    shop.kill(doomed)
                    let_the_lease_end(direct, doomed.pid, "2100-01-01")
                    assert other._owner is not None
                    for _ in range(2):  # who has a connection would be known as dead by now
                        other._owner._mailroom._look()
                    assert not has(other, "h")
                    let_the_lease_end(direct, doomed.pid)
                    other._owner._mailroom.look_soon()
                    await until(lambda: has(other, "h"), "it is adopted")
                    await handle.cancel()
                    with pytest.raises(ExecutionCancelled):
                        await handle.result()

    asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE_S))


def test_the_commands_do_all_they_do(url: str, tmp_path: Path) -> None:
    flow = "tests.integration.test_workers:noted"

    def told(*arguments: str | Path) -> Any:
        return run_here(*arguments, "--db", url, "--json").told

    assert told("db", "migrate")
    told("execution", "submit", flow, '"x"', "--id", "x")
    [row] = told("execution", "list")["executions"]
    assert (row["execution_id"], row["state"]) == ("x", "pending")
    ran = run_here("run", flow, '"y"', "--id", "y", "--db", url)
    assert (ran.status, ran.out.strip()) == (0, '"y"'), ran.err
    file, away = tmp_path / "z.json", tmp_path / "z.db"
    assert run_here("run", flow, '"z"', "--id", "z", "--db", away).status == 0
    assert run_here("execution", "export", "z", "-o", file, "--db", away).status == 0
    assert run_here("execution", "import", file, "--db", url).status == 0
    assert run_here("inspect", url).status == 0


def event(key: int, version: int) -> LogRow:
    return (key, version, 5, "returned", "{}")


def creation(key: int, name: str) -> Write:
    row = StateRow(key=key, id=name, function="m.f", state=State.RUNNING, created_at=1)
    return Write(key, [event(key, 0)], created=[row])


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_without_an_answer_is_done_once(
    ours: str,
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,  # noqa: FBT001
) -> None:
    with closing(PostgresStore(place.read(ours))) as store:
        store.commit([creation(1, "a")])
        own, whole = store._session, store._session.run

        def cutting(steps: Any) -> None:
            if arrives:
                whole(steps)
            monkeypatch.undo()
            own.drop()
            raise psycopg.OperationalError("cut")

        monkeypatch.setattr(own, "run", cutting)
        with pytest.raises(StorageUnavailable):
            store.commit([Write(1, [event(1, 1)])])

        assert store.commit([Write(1, [event(1, 1)])]) == {}
        assert [one.version for one in store.log(1)] == [0, 1]


def test_a_commit_that_comes_late_is_refused(ours: str) -> None:
    """As one that the pooler still had when it lost its client."""
    with closing(PostgresStore(place.read(ours))) as store:
        store.commit([creation(1, "a")])
        late = store._session.asserted()
        store._session.drop()
        store.commit([Write(1, [event(1, 1)])])

        with pytest.raises(psycopg.errors.CheckViolation):
            store._session._fetch("assert_worker", late)
        assert store.look([]).was_away
        assert store.commit([Write(1, [event(1, 2)])]) == {}


def test_who_goes_on_without_the_pooler_refuses_what_that_still_has(
    ours: str, direct: str
) -> None:
    with closing(PostgresStore(place.read(ours))) as store:
        store.commit([creation(1, "a")])
        own, late = store._session, store._session.asserted()
        own.place = place.read(direct)
        own.drop()
        own.ensure()

        with pytest.raises(psycopg.errors.CheckViolation):
            own._fetch("assert_worker", late)
        assert store.commit([Write(1, [event(1, 1)])]) == {}
        [me] = [one for one in own.sightings() if one.id == store.id]
        assert (me.is_pooled, me.is_connected) == (False, True)


def test_who_heard_no_answer_to_its_new_term_has_it_all_the_same(
    ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(PostgresStore(place.read(ours))) as store:
        store.commit([creation(1, "a")])
        own, whole = store._session, store._session._fetch

        def losing(name: str, values: Any) -> Any:
            found = whole(name, values)
            if name == "begin_anew":
                monkeypatch.undo()
                raise psycopg.OperationalError("cut")
            return found

        monkeypatch.setattr(own, "_fetch", losing)
        own.drop()
        with pytest.raises(StorageUnavailable):
            store.commit([Write(1, [event(1, 1)])])
        assert store.commit([Write(1, [event(1, 1)])]) == {}
        assert store.look([]).workers


def test_who_was_succeeded_behind_a_pooler_is_fenced(ours: str) -> None:
    with closing(PostgresStore(place.read(ours))) as store:
        store.commit([creation(1, "a")])
        with closing(PostgresStore(place.read(ours))) as other:
            [row] = [one for one in other._session.sightings() if one.id == store.id]
            assert other.adopt(row) is not None
            store._session.drop()
            for _ in range(2):
                with pytest.raises(Fenced):
                    store.commit([Write(1, [event(1, 1)])])
            assert len(other.log(1)) == 1


@looped
async def cut_off(url: str, cut: Callable[[], None]) -> None:
    async with working(url) as [one, _], Engine(url, serve=False) as client:
        names = [f"e{n}" for n in range(20)]
        handles = [await client.submit(naps, name, id=name) for name in names]
        await until(lambda: any(one.list(state="finished")), "they work")
        cut()
        assert [await handle.result() for handle in handles] == names


def test_workers_outlive_their_pooler(ours: str, pooler: Pooler) -> None:
    cut_off(ours, pooler.cut)


def test_tables_are_brought_to_a_newer_version_but_for_what_is_done_beside_workers(
    pooler: Pooler, postgres: Postgres
) -> None:
    at = place.read(pooler.through(postgres.fresh_url()))
    making.make_if_missing(at)
    with pytest.raises(ConfigError, match="behind a pooler"):
        migrating.migrate(at, [ADDS])
    step = replace(ADDS, beside=())

    assert migrating.migrate(at, [step]).steps == [step]

    with closing(PostgresStore(at)) as store:
        assert store.commit([creation(1, "a")]) == {}
    nothing_is_left(pooler.base_url)


def test_what_others_have_left_on_a_connection_is_not_heeded(
    postgres: Postgres, direct: str
) -> None:
    with pooling(postgres.base_url) as pooler:
        with ExitStack() as stack:  # all of them at the same time
            for _ in range(SIZE):
                line = stack.enter_context(psycopg.connect(pooler.base_url))
                line.execute(
                    "SELECT set_config('search_path', 'pg_catalog', FALSE),"
                    " set_config('synchronous_commit', 'off', FALSE),"
                    " set_config('default_transaction_isolation', 'serializable', FALSE)"
                )
        with closing(PostgresStore(place.read(pooler.through(direct)))) as store:
            assert store.commit([creation(1, "a")]) == {}
            found = store._session._connection.run_together(
                [*store._session.beginning(), (_HEEDED, ()), ("COMMIT", ())]
            )
            assert store.log(1)
        assert found[-2] == [("on", "read committed")]


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_workers_are_killed_behind_a_pooler(
    pooler: Pooler, postgres: Postgres, tmp_path: Path
) -> None:
    url = pooler.through(postgres.fresh_url())
    with workshop(url, tmp_path, many=3) as shop:
        many = under_load(url, lambda: kill_some(shop, kills=5))
        shop.nothing_is_lost_or_done_again(many)
