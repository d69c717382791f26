"""What cannot be read for a moment is read again: nothing is left lying, no engine ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from obelisk_ops import Engine, Handle, activity, sleep, workflow
from obelisk_ops.core import workers
from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.errors import ConfigError, OpsError, StorageUnavailable
from obelisk_ops.storage.postgres import making, owning, place
from obelisk_ops.storage.postgres.session import CONFLICTS_MAX
from obelisk_ops.storage.postgres.store import PostgresStore
from tests import tasked
from tests.engines import looped, until
from tests.postgres import Postgres

attempts: list[int] = []


@activity
async def ends_the_second_time() -> int:
    """Be cut short, and done again."""
    attempts.append(1)
    if len(attempts) == 1:
        await asyncio.Event().wait()
    return len(attempts)


@workflow
async def held() -> int:
    """Do it until it is done."""
    return await ends_the_second_time()


@workflow
async def quick() -> int:
    """Be done."""
    return 5


@workflow
async def naps() -> int:
    """Wait for long."""
    await sleep(timedelta(hours=1))
    return 5


@workflow
async def other_work() -> None:
    """Do nothing."""


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    attempts.clear()
    with postgres.lent() as lent:
        making.make_if_missing(place.read(lent))
        yield lent


def owner_of(engine: Engine) -> Any:
    assert engine._owner is not None
    return engine._owner


def refuse_once(store: Any, read: str) -> list[str]:
    """Let one read fail; return where it is noted that it did."""
    asked, refused = getattr(store, read), []

    def refuse(*_given: object) -> None:
        setattr(store, read, asked)
        refused.append(read)
        raise StorageUnavailable("the server is away")

    setattr(store, read, refuse)
    return refused


async def result_of(handle: Handle[int], *lookers: Engine) -> int:
    """Wait for a result while these look at each other all the time."""
    waiting = asyncio.create_task(handle.result())

    def is_there() -> bool:
        for engine in lookers:
            owner_of(engine)._mailroom.look_soon()
        return waiting.done()

    await until(is_there, "it ends")
    return await waiting


@looped
async def adopted(url: str) -> None:
    async with (
        Engine(url, workflows=[held], grace=0) as one,
        Engine(url, workflows=[held], grace=0) as other,
    ):
        await one.submit(held, id="a")
        await until(lambda: attempts, "it runs")
        store = owner_of(other).store
        refused = [refuse_once(store, read) for read in ("last_beats", "armed", "unfinished")]
        refused.append(refuse_once(store.board, "tasks"))
        owner_of(one).store.abandon()
        assert await result_of(other.handle("a"), other) == 2
        assert all(refused)
        assert owner_of(other)._scheduler.workshop.follows_crash


def test_who_adopts_and_can_read_nothing_then_goes_on_later(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "GRACE_MS", 0)  # who is gone is known as dead at once
    adopted(url)


@looped
async def given(url: str, reads: dict[str, str]) -> None:
    async with Engine(url, workflows=[other_work]) as one, Engine(url, serve=False) as client:
        await client.submit(quick, id="a")
        await until(lambda: owner_of(one).store.find("a"), "it is made, by who serves it not")
        async with Engine(url, workflows=[quick]) as other:
            engines = {"one": one, "other": other}
            refused = [refuse_once(owner_of(engines[e]).store, reads[e]) for e in reads]
            assert await result_of(other.handle("a"), one, other) == 5
            assert all(refused)
            assert not any(owner_of(engine).has_failed for engine in engines.values())


@pytest.mark.parametrize("reads", [{"other": "unfinished"}, {"one": "unfinished_below"}])
def test_so_does_who_is_given_something_or_gives_it(url: str, reads: dict[str, str]) -> None:
    given(url, reads)


@looped
async def keeper(url: str) -> None:
    async with (
        Engine(url, workflows=[quick]) as one,
        Engine(url, workflows=[quick]) as other,
    ):
        await one.schedule(quick, every=timedelta(hours=1), id="s")
        refused = refuse_once(owner_of(other).store, "crons")
        await one.__aexit__(None, None, None)
        await until(lambda: refused, "it is the keeper")
        assert await other.schedule_handle("s").pause()
        assert owner_of(other)._scheduler.schedules._rows["s"].paused


def test_who_becomes_the_keeper_and_cannot_read_the_schedules_reads_them_later(
    url: str,
) -> None:
    """What is asked of one meanwhile is not answered by who knows of none."""
    keeper(url)


@looped
async def rested(url: str) -> None:
    async with Engine(url, workflows=[tasked.squares]) as one:
        handle = await one.submit(tasked.squares, 2, id="s")
        board = owner_of(one)._scheduler.offers._board
        await until(lambda: len(board.tasks()) == 2, "they are on offer")
        refused = refuse_once(board, "tasks")
        await handle.pause()
        assert refused
        assert not owner_of(one).has_failed
        await handle.unpause()
        await until(lambda: len(board.tasks()) == 2, "they are on offer again")


def test_what_is_paused_and_cannot_be_read_then_is_on_offer_again_later(url: str) -> None:
    rested(url)


def refuse(store: PostgresStore, read: str, state: str, many: int) -> list[str]:
    """Let the server refuse a statement so often; return where all are noted that it gets."""
    session: Any = store._session
    fetch, asked = session._fetch, []

    def fetched(name: str, *given: Any) -> Any:
        asked.append(name)
        if name == read and asked.count(read) <= many:
            raise psycopg.errors.lookup(state)("refused by the test")
        return fetch(name, *given)

    session._fetch = fetched
    return asked


@looped
async def woken(url: str) -> None:
    async with Engine(url, workflows=[naps], keep_loaded=0, storage_timeout=300) as one:
        handle = await one.submit(naps, id="a")
        scheduler, store = owner_of(one)._scheduler, owner_of(one).store
        await until(lambda: scheduler.roster.find("a") is None, "it is on disk alone")
        [(key, n, _)] = store.armed()
        asked = refuse(store, "get_state", "57014", 1)
        scheduler.post(scheduler.ring, key, n)
        assert await handle.result() == 5
        assert asked.count("get_state") > 1
        assert store._session.patience_s == 300


def test_an_alarm_that_rings_while_the_server_refuses_ends_no_engine(url: str) -> None:
    woken(url)


@pytest.fixture
def store(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    monkeypatch.setattr(owning, "_READ_PAUSE_S", 0.01)
    with closing(PostgresStore(place.read(url))) as made:
        row = StateRow(key=1, id="a", function="m.f", state=State.PENDING, created_at=1)
        assert made.commit([Write(1, [(1, 0, 1, "created", "{}")], created=[row])]) == {}
        yield made


def read(store: PostgresStore) -> str:
    return store.get(1).id


@pytest.mark.parametrize("state", ["57014", "53200", "55P03", "40001", "40P01"])
def test_what_a_server_refuses_to_read_is_asked_again_while_the_lease_is_renewed(
    store: PostgresStore, state: str
) -> None:
    asked = refuse(store, "get_state", state, CONFLICTS_MAX + 2)
    assert read(store) == "a"
    assert "beat" in asked


@pytest.mark.parametrize(
    ("state", "patience_s", "error"),
    [
        ("42P01", 300, ConfigError), ("22P02", 300, StorageUnavailable),
        ("42601", 300, StorageUnavailable), ("57014", 0, StorageUnavailable),
    ],
)  # fmt: skip
def test_what_does_not_pass_or_takes_too_long_is_told_at_once(
    store: PostgresStore, state: str, patience_s: float, error: type[OpsError]
) -> None:
    asked = refuse(store, "get_state", state, 1)
    store.be_patient(patience_s)
    with pytest.raises(error):
        read(store)
    assert asked == ["get_state"]


def test_a_server_is_waited_for_once_and_not_for_each_read(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that waits hears no signal."""
    session: Any = store._session
    now_ms = [0]
    monkeypatch.setattr(owning._pause, "wait", lambda _: now_ms.append(now_ms.pop() + 10_000))
    monkeypatch.setattr(owning._clock, "elapsed_ms", lambda: now_ms[0])
    store.be_patient(60)
    connect: Callable[[], None] = session._connect

    def away() -> None:
        raise StorageUnavailable("the server is away")

    session._connect = away
    session.drop()
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            read(store)
        assert now_ms == [60_000]
    session._connect = connect
    assert read(store) == "a"
