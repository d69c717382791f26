"""Code that begins later than its execution; executions that wait for an owner to begin."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, now, schedule, sleep, workflow
from obelisk_ops.core.ports import State
from obelisk_ops.errors import ExecutionNotFound
from obelisk_ops.storage.reading import OwnerReader
from obelisk_ops.testing import EngineForTests, MovableClock
from tests.engines import kinds, the_tables_fit_the_logs

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@workflow(timeout=60)
async def limited(seconds: float = 30) -> str:
    begun = now()
    await sleep(seconds)
    return begun.isoformat()


@workflow
async def later(seconds: float) -> str:
    return schedule(limited, after=seconds)


@workflow
async def adds_one(n: int) -> int:
    return n + 1


@pytest.fixture
def engine(tmp_path: Path) -> EngineForTests:
    return EngineForTests(tmp_path / "runs.db", clock=MovableClock(NOON), workflows=[later])


def test_a_scheduled_execution_begins_when_it_is_its_time(engine: EngineForTests) -> None:
    async def main() -> None:
        async with engine:
            begun = await (await engine.submit(later, 3600)).result()
            await engine.clock.advance(hours=1)
            await engine.crash()
            await engine.settle()
            the_tables_fit_the_logs(engine._owner.store)  # type: ignore[union-attr]
            await engine.clock.advance(seconds=29)
            assert engine.row(begun).state == "blocked"
            await engine.clock.advance(seconds=1)
            found = await engine.handle(begun).result()
            assert found == (NOON + timedelta(hours=1)).isoformat()

    asyncio.run(main())


@pytest.mark.parametrize("workflows", [[limited], []], ids=["served", "not-served"])
def test_an_execution_was_created_when_it_was_asked_for(
    tmp_path: Path, workflows: list[Any]
) -> None:
    path, evening = tmp_path / "runs.db", NOON + timedelta(hours=8)

    async def main() -> None:
        async with EngineForTests(path, clock=MovableClock(NOON), serve=False) as client:
            asked = (await client.submit(limited, 0, id="a")).status()
        async with EngineForTests(
            path, clock=MovableClock(evening), workflows=workflows
        ) as engine:
            await engine.settle()
            assert engine.row("a").created_at == asked.created_at
            if workflows:
                assert await engine.handle("a").result() == evening.isoformat()
            the_tables_fit_the_logs(engine._owner.store)  # type: ignore[union-attr]

    asyncio.run(main())


@pytest.mark.parametrize("dies", [False, True])
def test_one_that_was_created_paused_begins_when_it_is_let(
    engine: EngineForTests, *, dies: bool
) -> None:
    async def main() -> None:
        async with engine:
            handle = await engine.submit(limited, 30, id="p", paused=True)
            await engine.clock.advance(days=1)
            assert kinds(handle.events()) == ["created"]
            await handle.unpause()
            if dies:
                await engine.crash()
            await engine.clock.advance(seconds=29)
            assert kinds(handle.events()) == ["created", "unpaused", "timer_set"]
            the_tables_fit_the_logs(engine._owner.store)  # type: ignore[union-attr]
            await engine.clock.advance(seconds=1)
            assert await handle.result() == (NOON + timedelta(days=1)).isoformat()

    asyncio.run(main())


def test_its_timeout_is_counted_from_its_beginning(engine: EngineForTests) -> None:
    async def main() -> None:
        async with engine:
            handle = await engine.submit_json(limited, b"[90]", execution_id="p", paused=True)
            await engine.clock.advance(days=1)
            await handle.unpause()
            await engine.clock.advance(seconds=1)
            await handle.pause()
            await engine.crash()
            await engine.clock.advance(seconds=60)
            await handle.unpause()
            await engine.settle()
            assert engine.row("p").result == "timed_out"
            the_tables_fit_the_logs(engine._owner.store)  # type: ignore[union-attr]

    asyncio.run(main())


def test_what_was_submitted_while_nobody_was_there_exists_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what an owner answers only after it has looked into its mailbox several times."""
    db = tmp_path / "runs.db"
    monkeypatch.setattr(OwnerReader, "letters_at_once", 2)

    async def submit() -> None:
        async with Engine(db, serve=False) as client:
            for n in range(5):
                await client.submit(adds_one, n, id=f"f{n}")

    async def go_on() -> None:
        async with Engine(db, workflows=[adds_one]) as engine:
            handle = engine.handle("f4")
            assert handle.status().state is State.PENDING
            assert kinds(handle.events()) == ["created"]
            assert [row.id for row in engine.list()] == ["f0", "f1", "f2", "f3", "f4"]
            assert await handle.result() == 5
            with pytest.raises(ExecutionNotFound):
                engine.handle("f5")

    asyncio.run(submit())
    asyncio.run(go_on())
