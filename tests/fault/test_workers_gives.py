"""Workers that give executions to each other, call each other, and lose an answer meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from obelisk_ops import Engine, Signal, workflow
from obelisk_ops.core import tasks, workers
from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage.postgres import making, place
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.store import PostgresStore
from tests import tasked
from tests.engines import Gate, looped, until
from tests.postgres import Postgres
from tests.support import wait_until

go = Signal("go", int)


@workflow
async def waits() -> int:
    """Wait for a number."""
    return await go.receive() or 0


@workflow
async def other_work() -> None:
    """Do nothing."""


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.lent() as lent:
        making.make_if_missing(place.read(lent))
        yield lent


def owner_of(engine: Engine) -> Any:
    assert engine._owner is not None
    return engine._owner


def mine(store: PostgresStore, key: int) -> None:
    row = StateRow(key=key, id=f"e{key}", function="m.f", state=State.PENDING, created_at=1)
    assert store.commit([Write(key, [(key, 0, 1, "created", "{}")], created=[row])]) == {}


def test_two_that_give_to_each_other_at_once_do_not_wait_for_each_other(
    url: str, postgres: Postgres
) -> None:
    """It had taken a second, until the server undid what one of them did."""
    at = place.read(url)
    stuck = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
    )
    came: list[PostgresStore] = []

    def pausing(store: PostgresStore, fetch: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: str, *args: Any) -> Any:
            if name == "note_gift":
                came.append(store)
                wait_until(lambda: len(came) > 1 or postgres.psql(stuck), 60, "both are there")
            return fetch(name, *args)

        return call

    with closing(PostgresStore(at)) as one, closing(PostgresStore(at)) as other:
        mine(one, 1)
        mine(other, 2)
        for store in (one, other):
            session: Any = store._session
            session._fetch = pausing(store, session._fetch)
        with ThreadPoolExecutor(2) as pool:
            given = [pool.submit(one.give, [1], other.id), pool.submit(other.give, [2], one.id)]
            assert [done.result() for done in given] == [True, True]
        assert (one.is_mine(2), other.is_mine(1)) == (True, True)


@looped
async def answer_is_lost(url: str) -> None:
    async with Engine(url, workflows=[other_work]) as one, Engine(url, serve=False) as client:
        store = owner_of(one).store
        await client.submit(waits, id="a")
        await until(lambda: store.find("a"), "it is made, by who does not serve it")
        give, given = store.give, []

        def unheard(keys: Collection[int], to: int) -> bool:
            store.give = give
            given.append(give(keys, to))
            raise StorageUnavailable("the answer is lost")

        store.give = unheard
        async with Engine(url, workflows=[waits]) as other:
            owner_of(one)._mailroom.look_soon()
            await until(lambda: given, "it is given")
            assert given == [True]
            await one.submit(waits, id="b")  # it serves it from now on
            assert owner_of(one)._scheduler.roster.find("b")
            assert owner_of(one)._scheduler.roster.find("a") is None
            await other.handle("a").signal(go, 3)
            assert await one.handle("a").result() == 3


def test_who_heard_no_answer_to_a_gift_does_not_go_on_with_it(url: str) -> None:
    answer_is_lost(url)


@looped
async def is_called(url: str) -> None:
    async with Engine(url, workflows=[waits]) as one, Engine(url, workflows=[waits]) as other:
        await one.submit(waits, id="a")
        first, session = one._owner, owner_of(one).store._session
        owner_of(one)._mailroom._timer.cancel()  # it looks at nothing by itself
        session.drop()

        def is_back() -> bool:
            owner_of(other)._mailroom.look_soon()
            return not session._connection.closed

        await until(is_back, "it has shown that it lives")
        assert one._owner is first
        assert owner_of(one).store.is_mine(one.row("a").key)


def test_who_lost_but_its_connection_is_called_before_it_is_taken_for_dead(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "GRACE_MS", 60_000)  # however slow this machine is
    is_called(url)


@looped
async def claimer_is_called(url: str) -> None:
    gate = tasked.gates["a"] = Gate()
    async with tasked.owner(url) as owner, tasked.worker(url) as worker:
        handle = await owner.submit(tasked.holds_once, "a", id="h")
        await until(lambda: gate.started["a"], "it runs")
        claiming: Any = worker._worker._claiming  # type: ignore[union-attr]
        claiming._timer.cancel()  # it looks at nothing by itself
        claiming._counter._connection.close()
        await until(lambda: not claiming._counter._connection.closed, "it shows that it lives")
        gate.open()
        assert await handle.result() == "a"


def test_so_is_who_makes_the_attempt_of_a_task(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "GRACE_MS", 60_000)  # however slow this machine is
    claimer_is_called(url)


@looped
async def paused_on_disk(url: str) -> None:
    async with Engine(url, workflows=[tasked.squares]) as first:
        await first.submit(tasked.squares, 2, id="s")
        offers = owner_of(first)._scheduler.offers
        await until(lambda: len(offers._board.tasks()) == 2, "they are on offer")
    async with Engine(url, workflows=[other_work]) as second:
        await second.handle("s").pause()
        board = owner_of(second)._scheduler.offers._board
        await until(lambda: board.tasks() == [], "they are taken back")
        async with Engine(url, workflows=[tasked.squares]) as third:
            await third.handle("s").unpause()
            owner_of(second)._mailroom.look_soon()
            board = owner_of(third)._scheduler.offers._board
            await until(lambda: len(board.tasks()) == 2, "they are on offer again")


def test_nothing_is_on_offer_of_what_was_paused_while_nobody_ran_it(url: str) -> None:
    paused_on_disk(url)


def refused(store: PostgresStore, letter: int) -> None:
    store.commit([Write(0, [], refusals=[(letter, letter, "{}")])])


def test_a_refusal_is_kept_for_a_minute_of_the_server(url: str, postgres: Postgres) -> None:
    at: Place = place.read(url)
    with closing(PostgresStore(at)) as store:
        refused(store, 1)
        refused(store, 1 << 60)  # whose clock is far ahead
        assert store.find_refusal(1) is not None
        postgres.psql(f"UPDATE {at.schema}.refusal SET at = at - 60001")  # noqa: S608
        refused(store, 3)
        assert [store.find_refusal(letter) is None for letter in (1, 1 << 60, 3)] == [
            True, True, False,
        ]  # fmt: skip


@looped
async def refused_once(url: str) -> None:
    async with Engine(url, workflows=[waits]) as one:
        handle = await one.submit(waits, id="a")
        store, refused = owner_of(one).store, []
        take = store.take_letters

        def refuse() -> None:
            store.take_letters = take
            refused.append(True)
            raise StorageUnavailable("no room for what was claimed")

        store.take_letters = refuse
        owner_of(one)._letters._deliver_soon()
        await until(lambda: refused, "it is refused")
        await handle.signal(go, 3)
        assert await handle.result() == 3
        assert not owner_of(one).has_failed


def test_a_server_that_refuses_a_claim_is_asked_again(url: str) -> None:
    refused_once(url)
