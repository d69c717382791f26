"""Executions go between a file and a server, finished or in the middle, and are done once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import (
    Engine,
    Retry,
    Signal,
    activity,
    continue_as_new,
    gather,
    sleep,
    stub,
    workflow,
)
from obelisk_ops.core import bundle
from obelisk_ops.core.history import History, from_json, to_json
from obelisk_ops.core.projection import rows_of
from obelisk_ops.errors import Conflict, Nondeterminism, OutcomeUnknown
from obelisk_ops.inspect.histories import family_in
from obelisk_ops.storage import as_address, open_reader, own
from obelisk_ops.testing import EngineForTests, MovableClock
from tests import command
from tests.barriers import FakeSupervisor
from tests.commands import run_here
from tests.engines import soon, the_tables_fit_the_logs, until
from tests.golden.test_histories import FILES
from tests.postgres import Postgres

go, done = Signal("go", int), Signal("done", str)
HOURLY = Retry(max_attempts=3, initial=timedelta(hours=1), jitter=0.0)


@activity(retry=HOURLY)
async def flaky() -> int:
    if activity.attempt() == 1:
        print("from the first attempt")  # noqa: T201 - what an activity prints is kept
        raise ConnectionError("the first time")
    return activity.attempt()


@activity(at_most_once=True)
async def once() -> None:
    await asyncio.Event().wait()


@activity
async def beats() -> Any:
    before = activity.heartbeat_details()
    if before is None:
        activity.heartbeat({"at": 7})
        await asyncio.Event().wait()
    return before


@stub
def decide() -> str:
    raise NotImplementedError


@workflow
async def naps() -> str:
    await sleep(timedelta(hours=2))
    return "slept"


@workflow
async def counts(n: int) -> int:
    if n > 0:
        continue_as_new(n - 1)
    return (await go.receive()) or 0


@workflow
async def guarded() -> str:
    try:
        await once()
    except OutcomeUnknown:
        return "unknown"
    return "known"


@workflow(timeout=timedelta(days=3))
async def journey() -> list[Any]:
    parts = await gather(naps(), counts(2), guarded(), flaky(), beats(), decide())
    return [*parts, await done.receive()]


FLOWS: list[Any] = [naps, counts, guarded, journey]


@dataclass(frozen=True, slots=True)
class Both:
    """A file and a server."""

    file: Path
    url: str

    def way(self, name: str) -> tuple[str, str]:
        here = str(self.file), self.url
        return here if name == "to the server" else here[::-1]


@pytest.fixture
def both(postgres: Postgres, tmp_path: Path) -> Iterator[Both]:
    with postgres.lent() as url:
        yield Both(tmp_path / "laptop.db", url)


def carry(source: str, target: str, file: Path, *options: str) -> Any:
    exported = run_here("execution", "export", "j", "-o", file, "--db", source, *options)
    assert exported.status == 0, exported.err
    return run_here("execution", "import", file, "--db", target, "--json").told


async def begin(engine: EngineForTests) -> None:
    """Come to where each part waits for something else."""
    await engine.submit(journey, id="j")
    await engine.settle(wait=False)
    assert engine._owner is not None
    await until(engine._owner.store.last_beats, "its heartbeat is on record")
    await engine.handle("j").signal(done, "well", id="s1")


async def finish(engine: EngineForTests) -> Any:
    """Do what each part waits for."""
    await engine.clock.advance(hours=2, wait=False)
    await engine.handle("j/2").signal(go, 5)
    await engine.stub("j/6", "yes")
    await engine.handle("j").signal(done, "again", id="s1")
    assert engine._owner is not None
    outcome = await engine.handle("j").result()
    the_tables_fit_the_logs(engine._owner.store)
    return outcome


@pytest.mark.parametrize("way", ["to the server", "to the file", "nowhere"])
def test_in_the_middle_of_everything_it_goes_on_to_the_same_end(
    both: Both, tmp_path: Path, way: str
) -> None:
    source, target = both.way(way)
    clock = MovableClock()

    async def leg(database: str, work: Any) -> Any:
        async with EngineForTests(database, clock=clock, workflows=FLOWS) as engine:
            return await work(engine)

    soon(leg(source, begin))
    if way == "nowhere":
        target = source
    else:
        told = carry(source, target, tmp_path / "j.json")
        assert (len(told["executions"]), told["paused"]) == (6, [])
    result = soon(leg(target, finish))

    assert result == ["slept", 5, "unknown", 2, {"at": 7}, "yes", "well"]
    output = run_here("execution", "output", "j", "--db", target)
    assert "from the first attempt" in output.out


def write(database: str, histories: list[History]) -> None:
    held = own(as_address(database))
    try:
        keys = {one.execution_id: key for key, one in enumerate(histories, 1)}
        for one in histories:
            key, parent = keys[one.execution_id], keys.get(one.parent_id)
            assert held.store.commit([rows_of(one, key, parent=parent)]) == {}
    finally:
        held.release()


def read(database: str, name: str) -> History:
    with closing(open_reader(as_address(database))) as reader:
        row = reader.find(name)
        assert row is not None
        return family_in(reader, row)[0]


def test_every_golden_history_is_the_same_after_a_way_there_and_back(
    both: Both, tmp_path: Path
) -> None:
    texts: dict[str, str] = {}
    for file in FILES:
        history = from_json(file.read_bytes())
        texts.setdefault(history.execution_id, file.read_text())
    for database in (str(both.file), both.url, str(tmp_path / "back.db")):
        write(database, [from_json(text) for text in texts.values()])
        found = {name: to_json(read(database, name)) for name in texts}
        assert found == texts
        texts = found


async def beside(*line: str | Path) -> command.Outcome:
    """Give a command while an engine goes on here."""
    return await asyncio.to_thread(command.call, *line)


async def wait_at(engine: Engine, name: str, kind: str) -> None:
    await until(lambda: kind in [e.kind for e in engine.read_log(name)], f"{name} is at {kind}")


def test_what_is_moved_never_goes_on_where_it_was(both: Both, tmp_path: Path) -> None:
    source, target = both.way("to the server")
    file = tmp_path / "j.json"
    export = ("execution", "export", "j", "--move", "-o", file, "--db", source)

    async def main() -> None:
        async with Engine(source, workflows=FLOWS) as engine:
            await engine.submit(parent, id="j")
            await wait_at(engine, "j/1", "signal_awaited")
            assert (await beside(*export)).status == 0
            for refused in (engine.handle("j").unpause, engine.handle("j").cancel):
                with pytest.raises(Conflict, match="goes on in another database"):
                    await refused()
            assert {row.state for row in engine.list()} == {"paused"}

    soon(main())

    taken = run_here("execution", "import", file, "--db", target, "--json").told
    assert taken == {"executions": ["j", "j/1"], "paused": []}
    assert run_here("execution", "signal", "j/1", "go", "5", "--db", source).status == 8
    assert run_here("execution", "signal", "j/1", "go", "5", "--db", target).status == 0
    assert soon(result_of(target)) == 6
    again = carry(source, f"{tmp_path}/post-mortem.db", tmp_path / "again.json")
    assert again["paused"] == ["j", "j/1"]


@workflow
async def asks() -> int:
    return (await go.receive()) or 0


@workflow
async def parent() -> int:
    return 1 + await asks()


FLOWS += [asks, parent]


async def result_of(database: str) -> Any:
    async with Engine(database, workflows=FLOWS) as engine:
        return await engine.handle("j").result()


def test_a_copy_of_what_goes_on_elsewhere_arrives_paused(both: Both, tmp_path: Path) -> None:
    file = tmp_path / "j.json"
    export = ("execution", "export", "j", "-o", file, "--db", both.url)

    async def main() -> None:
        async with Engine(both.url, workflows=FLOWS) as engine:
            await engine.submit(parent, id="j")
            await wait_at(engine, "j/1", "signal_awaited")
            assert "a copy" in (await beside(*export)).err
            await engine.handle("j/1").signal(go, 1)
            assert await engine.handle("j").result() == 2

    soon(main())

    assert [one.source for one in bundle.from_json(file.read_bytes())] == ["live", "live"]
    copied = ("execution", "import", file, "--db", tmp_path / "copy.db", "--json")
    assert run_here(*copied).told["paused"] == ["j", "j/1"]
    resumed = ("execution", "import", file, "--db", tmp_path / "resumed.db", "--resume")
    assert run_here(*resumed, "--json").told["paused"] == []


class Opened:
    """What an activity waits for, in a loop of its own thread."""

    def __init__(self) -> None:
        self.event = asyncio.Event()


door = Opened()


@activity
async def waits() -> int:
    await door.event.wait()
    return 5


@workflow
async def works() -> int:
    return await waits()


@workflow
async def insists() -> int:
    return await flaky.options(durability="replicated")()


FLOWS += [works, insists]


def test_what_runs_is_waited_for_and_its_outcome_goes_along(both: Both, tmp_path: Path) -> None:
    file = tmp_path / "j.json"
    export = ("execution", "export", "j", "--move", "-o", file, "--db", both.url)

    async def main() -> None:
        door.event = asyncio.Event()
        async with Engine(both.url, workflows=FLOWS) as engine:
            await engine.submit(works, id="j")
            await wait_at(engine, "j", "intended")
            early = await beside(*export, "--wait", "0", "--json")
            assert (early.status, early.error["code"]) == (4, "not_finished")
            assert "'j/1'" in early.error["message"]
            assert not file.exists()
            for refused in (engine.handle("j").unpause, engine.handle("j").cancel):
                with pytest.raises(Conflict, match="goes on in another database"):
                    await refused()
            door.event.set()
            assert (await beside(*export)).status == 0

    soon(main())

    target = str(both.file)
    assert run_here("execution", "import", file, "--db", target).status == 0
    door.event = asyncio.Event()  # who would run it again would wait for ever
    assert soon(result_of(target)) == 5


def test_what_was_moved_is_taken_back(both: Both, tmp_path: Path) -> None:
    db = str(both.file)

    async def begin_it() -> None:
        async with Engine(db, workflows=FLOWS) as engine:
            await engine.submit(parent, id="j")
            await wait_at(engine, "j/1", "signal_awaited")

    soon(begin_it())
    moved = ("execution", "export", "j", "--move", "-o", tmp_path / "lost.json", "--db", db)
    assert run_here(*moved).status == 0
    refused = run_here("execution", "signal", "j/1", "go", "1", "--db", db, "--json")
    hint = re.search(r"obelisk-ops (.*) --db", refused.error["hint"])
    assert hint is not None

    assert hint[1] == "execution unpause j/1 --take-back"
    assert run_here("execution", "unpause", "j", "--take-back", "--db", db).status == 0

    assert run_here("execution", "signal", "j/1", "go", "1", "--db", db).status == 0
    assert soon(result_of(db)) == 2


def test_what_cannot_be_moved_is_told_why(both: Both, tmp_path: Path) -> None:
    db = str(both.file)

    async def begin_it() -> None:
        async with Engine(db, workflows=FLOWS) as engine:
            await engine.submit(parent, id="j")
            await wait_at(engine, "j/1", "signal_awaited")

    soon(begin_it())
    for line, status, said in (
        (("export", "j/1", "--move", "-o", tmp_path / "x.json"), 8, "belongs to 'j'"),
        (("export", "j", "--move"), 2, "-o FILE"),
        (("export", "nobody", "--move", "-o", tmp_path / "x.json"), 7, "nobody"),
    ):
        ran = run_here("execution", *line, "--db", db, "--json")
        assert (ran.status, said in json.dumps(ran.error)) == (status, True), ran.err
    assert not (tmp_path / "x.json").exists()


def test_a_call_that_waits_for_a_bucket_is_parked_on_a_server(
    both: Both, tmp_path: Path
) -> None:
    """No bucket will ever hold it there; who takes it up goes on with all the rest."""
    source, target = both.way("to the server")

    async def main() -> None:
        supervisor = FakeSupervisor(both.file, is_open=True)
        async with supervisor, Engine(source, workflows=FLOWS) as engine:
            await engine.submit(insists, id="j")
            await wait_at(engine, "j", "attempt_failed")

    async def beside_it() -> None:
        async with Engine(target, workflows=FLOWS) as engine:
            with pytest.raises(Nondeterminism, match="is of SQLite files") as parked:
                await engine.handle("j").result()
            assert "leave it out" in parked.value.hint
            other = await engine.submit(asks)
            await other.signal(go, 3)
            assert await other.result() == 3

    soon(main())
    carry(source, target, tmp_path / "j.json")
    soon(beside_it())
