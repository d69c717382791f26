"""An engine whose supervisor has lost the right to act, or may have lost it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import activity, gather, sleep, workflow
from obelisk_ops.process import boot_id
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.store import SqliteStore
from tests.world import World, story

started: list[str] = []


@activity
async def act(name: str) -> str:
    started.append(name)
    return name


@workflow
async def acts() -> list[str]:
    first = await act("first")
    await sleep(timedelta(seconds=60))
    return [first, *await gather(act("second"), act("third"))]


@pytest.fixture
def world(tmp_path: Path) -> World:
    started.clear()
    return World(tmp_path)


def tell(world: World, deadline_ms: int | None) -> None:
    """Write what a supervisor would."""
    note = {
        "inode": world.db.stat().st_ino, "boot_id": boot_id(), "epoch": 1,
        "lease_deadline_ms": deadline_ms,
    }  # fmt: skip
    (beside.make_folder(world.db) / "owner.json").write_text(json.dumps(note))


def test_nothing_starts_after_the_deadline_and_all_when_it_is_renewed(world: World) -> None:
    async def main() -> None:
        async with world.engine(acts) as engine:
            tell(world, 30_000)
            handle = await engine.submit(acts, id="f")
            await asyncio.sleep(70)
            assert started == ["first"]
            await asyncio.sleep(100)
            assert started == ["first"], "also later"
            tell(world, world.elapsed_ms() + 30_000)
            assert await handle.result() == ["first", "second", "third"]

    world.run(main())


@pytest.mark.parametrize("deadline_ms", [None, 10**12])
def test_a_supervisor_that_was_stopped_or_lives_holds_up_nothing(
    world: World, deadline_ms: int | None
) -> None:
    async def main() -> None:
        async with world.engine(acts) as engine:
            tell(world, deadline_ms)
            assert await (await engine.submit(acts, id="f")).result()

    world.run(main())
    assert world.elapsed_ms() < 61_000


def test_that_another_machine_owns_it_is_said_at_the_start_and_when_it_comes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> int:
        return sum("another machine owns this" in line for line in caplog.messages)

    async def main() -> None:
        async with world.engine(acts) as engine:
            await engine.submit(acts, id="f")
            assert said() == 0
            tell(world, 0)
            await asyncio.sleep(10)
            assert said() == 1, "once, not each second"
        async with world.engine(acts):
            assert said() == 2, "at once"

    world.run(main())
    assert "no_activity_starts" in caplog.text


def test_a_machine_that_slept_between_the_record_and_the_start_starts_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = SqliteStore.commit

    def slow(store: SqliteStore, *args: Any, **how: Any) -> Any:
        done = commit(store, *args, **how)
        if not started:
            world.passed_s = max(
                world.passed_s, 100.0
            )  # the disk took long, or all stood still
        return done

    async def main() -> None:
        async with world.engine(acts) as engine:
            tell(world, 30_000)
            await asyncio.sleep(2)
            monkeypatch.setattr(SqliteStore, "commit", slow)
            handle = await engine.submit(acts, id="f")
            await asyncio.sleep(10)
            assert started == []
            assert "intended" in repr(story(world.crash())["f"]), "it is on record"
            tell(world, world.elapsed_ms() + 100_000)
            assert await handle.result() == ["first", "second", "third"]
            assert started == ["first", "second", "third"]

    world.run(main())
