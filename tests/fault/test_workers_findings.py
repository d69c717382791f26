"""What an attack on several workers has found: each was a defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops import Engine, Signal, activity, workflow
from obelisk_ops.core import events
from obelisk_ops.core.ports import ExecutionFilter, State
from obelisk_ops.core.workers import TTL_MS, Sighting
from obelisk_ops.durable import fellows, scheduler
from obelisk_ops.durable.flow.registry import created
from obelisk_ops.durable.owner import Owner
from obelisk_ops.errors import ExecutionCancelled, ExecutionExists, StorageUnavailable
from obelisk_ops.storage import open_mailbox
from tests.engines import looped, until
from tests.postgres import Postgres
from tests.support import PATIENCE_S

go = Signal("go", int)


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.lent() as lent:
        yield lent


def owner_of(engine: Engine) -> Any:
    assert engine._owner is not None
    return engine._owner


def adopt(adopter: Engine, fenced: Engine) -> None:
    """Take over all of a worker, as if its lease were over; it does not know."""
    store = owner_of(adopter).store
    [row] = [one for one in store._session.sightings() if one.id == owner_of(fenced).store.id]
    assert store.adopt(row) is not None
    owner_of(adopter)._scheduler.nursery.recover()


@workflow
async def collects() -> list[int]:
    """Hear two numbers."""
    return [await go.receive() or 0, await go.receive() or 0]


@looped
async def signalled_once(url: str) -> None:
    async with (
        Engine(url, workflows=[collects]) as one,
        Engine(url, workflows=[collects]) as other,
    ):
        mine = await one.submit(collects, id="a")
        deliver = owner_of(one)._letters.deliver

        def fenced_meanwhile() -> bool:
            is_more: bool = deliver()
            owner_of(one)._letters.deliver = deliver
            adopt(other, one)
            return is_more

        owner_of(one)._letters.deliver = fenced_meanwhile
        assert await mine.signal(go, 1)
        await other.handle("a").signal(go, 2)
        assert await mine.result() == [1, 2]


def test_what_a_worker_asks_while_it_is_fenced_is_asked_once(url: str) -> None:
    signalled_once(url)


@activity
async def counts() -> int:
    """Come a bit further each time."""
    known = activity.heartbeat_details(int)
    if known is None:
        activity.heartbeat(7)
        await asyncio.Event().wait()
    return known or 0


@workflow
async def counted() -> int:
    """Do it until it is done."""
    return await counts()


@looped
async def heartbeat_is_known(url: str) -> None:
    async with (
        Engine(url, workflows=[counted], grace=0) as one,
        Engine(url, workflows=[counted], grace=0) as other,
    ):
        await one.submit(counted, id="a")
        reader = owner_of(other).store
        await until(lambda: reader.last_beats() or _beats(reader), "it is written down")
        owner_of(one).store.abandon()
        assert await other.handle("a").result() == 7


def _beats(reader: Any) -> object:
    return [b for row in reader.executions(ExecutionFilter()) for b in reader.beats(row.key)]


def test_who_adopts_an_execution_knows_its_last_heartbeat(url: str) -> None:
    heartbeat_is_known(url)


@looped
async def keeper_in_doubt(url: str) -> None:
    async with (
        Engine(url, workflows=[collects]) as one,
        Engine(url, workflows=[collects]) as other,
    ):
        session = owner_of(other).store._session
        adopted = session.adopt

        def unheard(row: Any) -> None:
            session.adopt = adopted
            assert adopted(row) is not None
            session.is_keeper = False
            raise StorageUnavailable("the answer is lost")

        session.adopt = unheard
        await one.schedule(collects, every=timedelta(hours=1), id="s")
        await one.__aexit__(None, None, None)
        await until(lambda: session.adopt is adopted, "it is adopted")
        await until(lambda: owner_of(other)._scheduler.schedules._rows, "it is the keeper")


def test_who_adopts_the_keeper_without_hearing_of_it_is_the_keeper(url: str) -> None:
    keeper_in_doubt(url)


def test_a_worker_that_takes_up_very_many_renews_its_lease_meanwhile(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is taken for dead while it does, and who adopts that has even more to take up."""
    monkeypatch.setattr(scheduler, "_ROUND_S", 0.0)

    async def main() -> None:
        turns: list[str] = []
        async with Engine(url, workflows=[collects]) as one:
            post = owner_of(one)._scheduler.post
            for _ in range(3):
                post(turns.append, "taken up")
                post(asyncio.get_running_loop().call_soon, turns.append, "lease")
            await until(lambda: len(turns) == 6, "all is done")
        assert turns == 3 * ["taken up", "lease"]

    asyncio.run(main())


def let_the_leases_end(store: Any) -> None:
    store._session._cursor.execute("UPDATE worker SET lease_until = now() - interval '1 s'")


def cut(store: Any) -> None:
    store._session.drop()


@pytest.mark.parametrize("blow", [let_the_leases_end, cut])
def test_who_was_cut_off_does_not_take_the_others_for_dead(
    url: str, blow: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover, or a network that was away: the first to come back is not the only one."""
    waited: list[int] = []

    def to_adopt(_seen: object, _before: object, _me: int, there_ms: int) -> list[Sighting]:
        waited.append(there_ms)
        return []

    async def main() -> None:
        async with Engine(url, workflows=[collects]) as one:
            monkeypatch.setattr(fellows, "to_adopt", to_adopt)
            look = owner_of(one)._mailroom._look
            look()
            assert waited == [TTL_MS]
            blow(owner_of(one).store)
            look()
            assert waited[1:] == [0]
            look()
            assert waited[2] < TTL_MS

    asyncio.run(main())


@workflow
async def doubles(number: int) -> int:
    """Count."""
    return 2 * number


@workflow
async def cleans_up() -> None:
    """Be cancelled, and hear a number before the end."""
    try:
        await go.receive()
    finally:
        await go.receive()


@looped
async def cancelled_goes_on(url: str) -> None:
    async with Engine(url, workflows=[collects]) as old:
        async with Engine(url, workflows=[cleans_up]) as new:
            handle = await new.submit(cleans_up, id="a")
            await handle.cancel()
            assert handle.status().state is State.CANCELLING
        await until(lambda: owner_of(old).store.is_mine(old.row("a").key), "it is adopted")
        async with Engine(url, workflows=[cleans_up]) as newer:
            await newer.handle("a").signal(go, 1)
            with pytest.raises(ExecutionCancelled):
                await newer.handle("a").result()


def test_what_is_being_cancelled_is_given_to_who_serves_it(url: str) -> None:
    cancelled_goes_on(url)


@looped
async def letters_have_numbers(url: str) -> None:
    numbers = []
    async with Engine(url, workflows=[collects]) as one, Engine(url, serve=False) as client:
        await one.submit(collects, id="a")
        with closing(open_mailbox(one.path)) as mailbox:
            for kind in ("pause", "unpause", "pause"):
                assert mailbox.ask(kind, "a", "{}", now_ms=1)
                numbers.append(mailbox.last_letter)
                assert await client.when_answered("a", PATIENCE_S)
    assert sorted(set(numbers)) == numbers


def test_no_letter_has_the_number_of_one_before(url: str) -> None:
    """Who waits for the answer to one would be told the refusal of another one."""
    letters_have_numbers(url)


@looped
async def submitted_twice(url: str) -> None:
    async with Engine(url, workflows=[doubles]) as one:
        body = created(doubles, Raw(b"[1]"))
        with closing(open_mailbox(one.path)) as mailbox:
            assert mailbox.ask("create", "a", events.encode(body), now_ms=1)
        with pytest.raises(ExecutionExists):
            await one.submit(doubles, 2, id="a")
        same = await one.submit(doubles, 1, id="a")
        assert not same.created
        assert await same.result() == 2


def test_what_a_client_was_promised_no_worker_gives_to_another_one(url: str) -> None:
    submitted_twice(url)


@looped
async def asked_between(url: str) -> None:
    async with (
        Engine(url, workflows=[collects]) as one,
        Engine(url, workflows=[collects]) as other,
    ):
        mine, take, tries = await one.submit(collects, id="a"), one._take, []

        def again() -> Owner:
            tries.append(1)
            if len(tries) == 1:
                raise StorageUnavailable("the server has no room")
            return take()

        one._take = again  # type: ignore[method-assign]
        adopt(other, one)
        owner_of(one)._mailroom._look()
        await until(lambda: tries, "it joins again")
        assert await mine.signal(go, 1)
        assert await mine.signal(go, 2)
        assert await mine.result() == [1, 2]


def test_who_asks_a_worker_that_joins_again_waits_for_that(url: str) -> None:
    """It was told that nothing was asked, and it was: a signal that is sent again is two."""
    asked_between(url)
