"""
Anybody asks for anything, many at once, of executions that live, rest, or are not served.

A seed says what: it is printed as the name of the test. Lives of the engine end as a kill
would end them; commits fail now and then. In the end everything ends, every table fits its
log, and every replay asks for what is on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from obelisk_ops import storage
from obelisk_ops.core.events import Created
from obelisk_ops.core.ports import ExecutionFilter, State, StateRow, Write
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.errors import OpsError, StorageUnavailable
from obelisk_ops.storage import open_reader, open_store
from tests.databases import Database
from tests.fault.test_engine_every_crash import (
    ARGS,
    FLOWS,
    SCENARIOS,
    Ask,
    Nothing,
    answer,
    signal,
    to,
)
from tests.world import World, check_tables

_ROUNDS_MAX = 80


class Moody:
    """A store whose commits fail now and then."""

    def __init__(self, path: Path, random: Random, share: float) -> None:
        self._store: Any = open_store(path)
        self._random = random
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: Sequence[Write]) -> Any:
        if self._random.random() < self._share:
            raise StorageUnavailable("the disk is full", hint="wait")
        return self._store.commit(writes)


class Storm:
    """Some executions, and people who ask of them whatever comes to mind."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.keep_loaded = random.choice([0, 0, 1, 2, 1000])
        self.names = random.sample(sorted(SCENARIOS), 4)

    async def live(self, db: Database) -> Database:
        """Live for a while, and return what a kill leaves."""
        random, world = self.random, self.world
        served = FLOWS if random.random() < 0.7 else random.sample(FLOWS, len(FLOWS) // 2)
        engine = world.engine(*served, db=db, keep_loaded=self.keep_loaded)
        async with engine, world.engine(db=db, serve=False) as client:
            for place, name in enumerate(self.names):
                if random.random() < 0.7:
                    await self.submit(engine, place, name, paused=random.random() < 0.2)
            for _ in range(random.randint(1, 12)):
                many = random.choice([1, 1, 2, 4, 8])
                asked = [
                    self.ask()(random.choice([engine, engine, client])) for _ in range(many)
                ]
                told = await asyncio.gather(*asked, return_exceptions=True)
                assert all(isinstance(one, OpsError | bool) for one in told), told
                await asyncio.sleep(random.choice([0, 0, 0.5, 2, 5]))
            return world.crash(db)

    async def submit(self, engine: Any, place: int, name: str, *, paused: bool) -> None:
        with suppress(OpsError):  # it was submitted otherwise before
            given = ARGS.get(name, b"[]")
            flow, execution_id = SCENARIOS[name].flow, f"e{place}"
            await engine.submit_json(flow, given, execution_id=execution_id, paused=paused)

    def ask(self) -> Ask:
        random = self.random
        target = f"e{random.randrange(4)}"
        target += f"/{random.randint(1, 4)}" if random.random() < 0.3 else ""
        target += "~2" if random.random() < 0.1 else ""
        kind = random.choice(
            ["pause", "unpause", "unpause", "cancel", "signal", "signal", "stub"]
        )
        if kind == "signal":
            value = random.choice([7, "x"])  # one of them fits
            name, signal_id = random.choice(["note", "go"]), random.choice(["", "1", "2", "3"])
            return signal(name, value, signal_id, target)
        if kind == "stub":
            return answer(f"{target}/{random.randint(1, 4)}", "yes")
        return to(kind, target)

    async def end(self, db: Database) -> list[StateRow]:
        """Give all that they wait for to all; return those that do not end."""
        async with self.world.engine(*FLOWS, db=db, keep_loaded=self.keep_loaded) as engine:
            for place, name in enumerate(self.names):
                await self.submit(engine, place, name, paused=False)
            left: list[StateRow] = []
            for _ in range(_ROUNDS_MAX):
                left = [row for row in engine.list(limit=1000) if row.state != "finished"]
                if not left:
                    break
                for ask in [ask for row in left for ask in all_for(row.id)]:
                    with suppress(OpsError):
                        await ask(engine)
                await asyncio.sleep(20)
            return left


def all_for(execution_id: str) -> list[Ask]:
    answers = [answer(f"{execution_id}/{n}", "yes") for n in range(1, 5)]
    signals = [signal("note", "z", "", execution_id), signal("go", 1, "", execution_id)]
    return [to("unpause", execution_id), *signals, *answers]


def replay_all(db: Database) -> None:
    known = {flow.name: flow for flow in FLOWS}
    with closing(open_reader(db)) as reader:
        for row in reader.executions(ExecutionFilter(limit=10_000)):
            log = reader.log(row.key)
            kinds = [event.kind for event in log]
            assert row.state is State.FINISHED
            assert kinds.index("finished") == len(kinds) - 1
            if row.result == "cancelled" and "cancel_requested" not in kinds:
                continue  # before it had begun
            created = msgspec.json.decode(log[0].body, type=Created)
            flow = known[row.function]
            machine = Machine(row.id, flow, created, at=log[0].at, host=Nothing())
            machine.replay(log[1:], reader.inbox(row.key))
            assert machine.finished is not None


@pytest.mark.parametrize("seed", range(1, 9))
def test_whatever_is_asked_of_whatever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)
    share = random.choice([0, 0, 0.2])
    monkeypatch.setattr(storage, "open_store", lambda path: Moody(path, random, share))
    world = World(tmp_path)
    storm, db = Storm(world, random), world.db

    for _ in range(random.choice([1, 2, 3])):
        db = world.run(storm.live(db))
        check_tables(db)

    assert world.run(storm.end(db)) == []
    check_tables(db)
    replay_all(db)
