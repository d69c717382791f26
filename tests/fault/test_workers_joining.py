"""Starts that fail leave nothing, and a worker that cannot join again says why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, Signal, activity, workflow
from obelisk_ops.durable import joining
from obelisk_ops.durable.flow.lines import hook
from obelisk_ops.durable.mailroom import ServerBell, SocketBell
from obelisk_ops.durable.nursery import Nursery
from obelisk_ops.durable.offers import Offers
from obelisk_ops.durable.owner import Owner
from obelisk_ops.durable.schedules import Schedules
from obelisk_ops.durable.supervision import Supervision
from obelisk_ops.durable.work.workshop import Workshop
from obelisk_ops.errors import ConfigError, NotFinished, OpsError, StorageUnavailable
from obelisk_ops.storage.postgres import place
from tests import command
from tests.engines import Gate, looped, until
from tests.postgres import Postgres
from tests.support import PATIENCE_S

go = Signal("go", int)
gates: dict[str, Gate] = {}
TAKEN = "term = term + 1, writer = term + 1"
STAGES = [
    (Workshop, "load"), (Offers, "load"), (Nursery, "recover"), (Schedules, "take_up"),
    (Supervision, "begin"),
]  # fmt: skip


@activity
def holds(name: str) -> str:
    """Hold a thread until the test says so."""
    return gates[name].pass_thread(name)


@workflow
async def waits() -> int:
    """Wait for a number."""
    return await go.receive() or 0


@workflow
async def works(name: str) -> str:
    """Take one step in a thread."""
    return await holds(name)


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.lent() as lent:
        yield lent


def owner_of(engine: Engine) -> Any:
    assert engine._owner is not None
    return engine._owner


def fence(engine: Engine) -> None:
    """Take a worker's row, and let it see that."""
    owner_of(engine).store._session._cursor.execute(f"UPDATE worker SET {TAKEN}")  # noqa: S608
    owner_of(engine)._mailroom._look()


def failing(monkeypatch: pytest.MonkeyPatch, where: type, name: str) -> None:
    """Let a stage of an owner's start do what it does, and then fail."""
    do = getattr(where, name)

    def fail(*args: Any, **named: Any) -> None:
        do(*args, **named)
        raise StorageUnavailable("sorry, too many clients already")

    monkeypatch.setattr(where, name, fail)


def what_is_left() -> tuple[int, int, int]:
    """Return how many files are open, calls of the loop to come, and holders of the hook."""
    loop: Any = asyncio.get_running_loop()
    to_come = [one for one in (*loop._ready, *loop._scheduled) if not one.cancelled()]
    return len(list(Path("/proc/self/fd").iterdir())), len(to_come), hook._wanted


@looped
async def start_fails(database: str | Path, stage: tuple[type, str]) -> None:
    async with Engine(database, workflows=[waits]) as engine:
        handle = await engine.submit(waits, id="a")
    before = what_is_left()
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, *stage)
        with pytest.raises(StorageUnavailable, match="too many"):
            await Engine(database, workflows=[waits]).__aenter__()
    assert what_is_left() == before
    async with Engine(database, workflows=[waits]) as engine:
        handle = engine.handle("a")
        await handle.signal(go, 4)
        assert await handle.result() == 4


@pytest.mark.parametrize("stage", [*STAGES, (SocketBell, "hang")])
def test_a_start_on_a_file_that_fails_leaves_nothing(
    stage: tuple[type, str], tmp_path: Path
) -> None:
    start_fails(tmp_path / "a.db", stage)


@pytest.mark.parametrize("stage", [*STAGES, (ServerBell, "hang")])
def test_so_does_one_on_a_server(url: str, stage: tuple[type, str]) -> None:
    start_fails(url, stage)


@looped
async def joins_at_second_try(url: str) -> None:
    async with Engine(url, workflows=[waits]) as one:
        first, handle = one._owner, await one.submit(waits, id="a")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(joining, "_AGAIN_S", 0.01)
            recover, tries = Nursery.recover, []

            def fails_once(nursery: Nursery) -> None:
                tries.append(1)
                recover(nursery)
                if len(tries) == 1:
                    raise StorageUnavailable("sorry, too many clients already")

            patch.setattr(Nursery, "recover", fails_once)
            fence(one)
            await until(lambda: one._owner is not first, "it is back")
        assert len(tries) > 1
        store = owner_of(one).store
        living = {row.id for row in store._session.sightings() if row.is_connected}
        assert living == {store.id}
        assert await handle.signal(go, 4)
        assert await handle.result() == 4


def test_a_worker_whose_first_try_to_join_again_fails_is_one_worker(url: str) -> None:
    """The half of it that had begun renewed its lease, and claimed letters, for ever."""
    joins_at_second_try(url)


def refuses_tables(engine: Any) -> None:
    def take() -> Owner:
        raise ConfigError("the tables are of a newer version", hint="upgrade")

    engine._take = take


def fails_to_close(engine: Any) -> None:
    async def close(**_: Any) -> None:
        monkey.undo()
        raise ConfigError("the tables are of a newer version", hint="upgrade")

    monkey = pytest.MonkeyPatch()
    monkey.setattr(owner_of(engine), "close", close)


def has_a_bug(engine: Any) -> None:
    def take() -> Owner:
        raise ValueError("the tables are of a newer version")

    engine._take = take


async def told(work: Awaitable[object]) -> OpsError:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(OpsError) as raised:
            await work
    return raised.value


@looped
async def cannot_join(url: str, breaks: Callable[[Engine], None], *, busy: bool) -> None:
    gate = gates["w"] = Gate()
    try:
        async with Engine(url, workflows=[waits, works], grace=0) as one:
            handle: Any = await one.submit(waits, id="a")
            if busy:
                await one.submit(works, "w")
                await until(lambda: gate.started["w"], "it runs")
            waiting = [
                asyncio.ensure_future(one.failed()),
                asyncio.create_task(handle.result()),
            ]
            breaks(one)
            fence(one)
            for each in (*waiting, one.submit(waits, id="b"), one.failed()):
                assert "are of a newer version" in (await told(each)).message
    finally:
        gate.open()


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("breaks", [refuses_tables, fails_to_close, has_a_bug])
def test_who_cannot_join_again_says_why(
    url: str, breaks: Callable[[Engine], None], *, busy: bool
) -> None:
    """It was silent for ever, or spoke of another worker."""
    cannot_join(url, breaks, busy=busy)


@looped
async def left_meanwhile(url: str) -> None:
    tries = []

    def take() -> Owner:
        tries.append(1)
        raise StorageUnavailable("the server has no room")

    async with Engine(url, workflows=[waits]) as one:
        handle = await one.submit(waits, id="a")
        waiting = asyncio.create_task(handle.result())
        one._take = take  # type: ignore[method-assign]
        fence(one)
        await until(lambda: tries, "it tries to join again")
    assert isinstance(await told(waiting), NotFinished)
    assert hook._wanted == 0


def test_who_waits_for_a_worker_that_is_left_while_it_joins_again_is_told(url: str) -> None:
    left_meanwhile(url)


def test_a_worker_command_that_cannot_join_again_ends_with_the_reason(
    postgres: Postgres, tmp_path: Path
) -> None:
    url, flows = postgres.fresh_url(), tmp_path / "flows.py"
    at = place.read(url)
    flows.write_text(
        "from obelisk_ops import workflow\n\n\n@workflow\nasync def nothing() -> None:\n"
        '    """Do nothing."""\n'
    )
    with command.start("worker", flows, "--db", url) as worker:
        assert worker.stderr is not None
        while "serving" not in worker.stderr.readline():
            assert worker.poll() is None
        postgres.psql(
            f"UPDATE {at.schema}.meta SET value = '9' WHERE key LIKE '%_version'"  # noqa: S608
        )
        postgres.psql(f"UPDATE {at.schema}.worker SET {TAKEN}")  # noqa: S608
        postgres.psql(f"SELECT pg_notify('{at.channel()}', 'left')")  # it looks at once
        ended = command.outcome(worker)
    assert ended.status == ConfigError.exit_status
    assert "has schema version 9" in ended.err
    assert "pip install --upgrade" in ended.err
