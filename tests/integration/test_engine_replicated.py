"""What an engine does until the bucket holds it, and what it does not; a fake supervisor."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, Signal, activity, sleep, workflow
from obelisk_ops.cli.inspect import _since
from obelisk_ops.cli.owner import surroundings
from obelisk_ops.core.fold import fold
from obelisk_ops.core.why import Situation, explain
from obelisk_ops.durable.enquiry import enquire
from obelisk_ops.errors import ConfigError, Fenced, InvalidInput, ReplicationTimeout
from obelisk_ops.testing import EngineForTests
from tests.barriers import FakeSupervisor, until
from tests.engines import kinds, looped

ran: Counter[str] = Counter()
go: Signal[str] = Signal("go", str)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@activity
async def act(name: str) -> str:
    ran[name] += 1
    return name


@workflow
async def steps(name: str) -> str:
    await act(name)
    return await act(name)


@workflow(durability="replicated")
async def precious(name: str) -> str:
    return await act(name)


@workflow(durability="replicated")
async def loose_step(name: str) -> str:
    await act.options(durability="local")(name)
    return await act(name + " in the bucket")


@workflow
async def precious_step(name: str) -> str:
    await act(name)
    return await act.options(durability="replicated")(name + " in the bucket")


@workflow
async def waits_for_go() -> str:
    return await act(str(await go.receive()))


@looped
async def test_nothing_starts_and_nobody_is_answered_before_the_barrier(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db, durability="replicated") as engine:
        submitting = asyncio.ensure_future(engine.submit(steps, "a", id="a"))
        await supervisor.until_asked()
        assert engine.find("a") is not None, "it is on this disk"
        assert not submitting.done()
        assert not ran

        supervisor.let_pass()
        handle = await submitting
        finishing = asyncio.ensure_future(handle.result())
        await supervisor.until_asked(2)
        assert ran["a"] == 1
        supervisor.let_pass()
        await supervisor.until_asked(3)
        assert ran["a"] == 2
        assert handle.status().state == "finished"
        assert not finishing.done()
        supervisor.let_pass()
        assert await finishing == "a"


@looped
async def test_many_commits_share_one_barrier(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db, durability="replicated") as engine:
        first = asyncio.ensure_future(engine.submit(steps, "a"))
        await supervisor.until_asked()
        others = [asyncio.ensure_future(engine.submit(steps, "b")) for _ in range(50)]
        await until(lambda: len(engine.list()) == 51)
        supervisor.let_pass()
        await first
        assert not any(other.done() for other in others)
        supervisor.is_open = True
        await supervisor.until_asked(2)
        supervisor.let_pass()
        for handle in await asyncio.gather(*others):
            await handle.result()
        assert supervisor.asked < 20


@looped
async def test_others_are_not_slowed(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db) as engine:
        submitting = asyncio.ensure_future(engine.submit(precious, "p"))
        await supervisor.until_asked()
        assert await (await engine.submit(steps, "a")).result() == "a"
        assert not submitting.done()
        assert not ran["p"]
        supervisor.is_open = True
        supervisor.let_pass()
        assert await (await submitting).result() == "p"


@looped
async def test_an_activity_says_otherwise_for_itself(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db) as engine:
        handle = await engine.submit(precious_step, "a")
        await supervisor.until_asked()
        assert dict(ran) == {"a": 1}
        supervisor.let_pass()
        finishing = asyncio.ensure_future(handle.result())
        await supervisor.until_asked(2)
        assert ran["a in the bucket"] == 1
        assert not finishing.done(), "its outcome is to be in the bucket too"
        supervisor.is_open = True
        supervisor.let_pass()
        assert await finishing == "a in the bucket"

        supervisor.is_open = False
        asked = supervisor.asked
        submitting = asyncio.ensure_future(engine.submit(loose_step, "l"))
        await supervisor.until_asked(asked + 1)
        supervisor.let_pass()
        await submitting
        await supervisor.until_asked(asked + 2)
        assert ran["l"] == 1
        assert not ran["l in the bucket"]
        supervisor.is_open = True
        supervisor.let_pass()


@looped
async def test_who_waits_too_long_is_told_and_what_was_asked_happens_once(db: Path) -> None:
    supervisor = FakeSupervisor(db)
    async with supervisor, Engine(db, durability="replicated", replication_timeout=1.5) as e:
        submitting = asyncio.ensure_future(e.submit(steps, "a", id="a"))
        await supervisor.until_asked()
        supervisor.say({"note": "S3 does not answer"})
        with pytest.raises(ReplicationTimeout, match="S3 does not answer") as told:
            await submitting
        assert told.value.exit_status == 6
        again = asyncio.ensure_future(e.submit(steps, "a", id="a"))
        supervisor.is_open = True
        supervisor.let_pass()
        handle = await again
        assert not handle.created
        assert await handle.result() == "a"
        assert ran["a"] == 2


@looped
async def test_who_waits_for_a_result_is_told_too(db: Path) -> None:
    supervisor = FakeSupervisor(db, is_open=True)
    async with supervisor, Engine(db, durability="replicated", replication_timeout=1.5) as e:
        handle = await e.submit(waits_for_go)
        supervisor.is_open = False
        finishing = asyncio.ensure_future(handle.result())
        with pytest.raises(ReplicationTimeout):
            await handle.signal(go, "x")
        with pytest.raises(ReplicationTimeout):
            await finishing
        supervisor.is_open = True
        supervisor.let_pass()
        assert await handle.result() == "x"


@looped
async def test_or_waits_on_where_that_is_asked_for(db: Path) -> None:
    supervisor = FakeSupervisor(db)
    async with (
        supervisor,
        Engine(
            db, durability="replicated", replication_timeout=0.1, on_replication_timeout="wait"
        ) as engine,
    ):
        submitting = asyncio.ensure_future(engine.submit(steps, "a"))
        await asyncio.wait({submitting}, timeout=0.5)
        assert not submitting.done()
        supervisor.is_open = True
        supervisor.let_pass()
        assert await (await submitting).result() == "a"


@looped
async def test_without_a_supervisor_it_waits_for_one(db: Path) -> None:
    async with Engine(db, durability="replicated", replication_timeout=1.5) as engine:
        with pytest.raises(ReplicationTimeout, match="no supervisor"):
            await engine.submit(steps, "a", id="a")
        async with FakeSupervisor(db, is_open=True):
            assert await (await engine.submit(steps, "a", id="a")).result() == "a"


@looped
async def test_a_supervisor_that_goes_is_looked_for_again(db: Path) -> None:
    async with Engine(db, durability="replicated") as engine:
        async with FakeSupervisor(db) as supervisor:
            submitting = asyncio.ensure_future(engine.submit(steps, "a"))
            await supervisor.until_asked()
            supervisor.hang_up()
        async with FakeSupervisor(db, is_open=True):
            assert await (await submitting).result() == "a"


@looped
async def test_who_lost_the_right_to_write_acknowledges_nothing(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db, durability="replicated") as engine:
        submitting = asyncio.ensure_future(engine.submit(steps, "a"))
        failing = asyncio.ensure_future(engine.failed())
        await supervisor.until_asked()
        supervisor.say({"error": {"code": "fenced", "message": "epoch 2 is open"}})
        with pytest.raises(Fenced, match="epoch 2 is open") as told:
            await submitting
        assert told.value.exit_status == 9
        with pytest.raises(Fenced):
            await failing
        with pytest.raises(Fenced):
            await engine.submit(steps, "b")
    assert not ran


@looped
async def test_what_ended_before_a_restart_is_told_when_the_bucket_holds_it(db: Path) -> None:
    async with Engine(db) as engine:
        await (await engine.submit(precious_later, "a", id="a")).result()
    async with FakeSupervisor(db) as supervisor, Engine(db, durability="replicated") as engine:
        asking = asyncio.ensure_future(engine.handle("a").result())
        attaching = asyncio.ensure_future(engine.submit(precious_later, "a", id="a"))
        await supervisor.until_asked()
        assert not asking.done()
        assert not attaching.done()
        supervisor.is_open = True
        supervisor.let_pass()
        assert await asking == "a"
        assert not (await attaching).created


@workflow
async def precious_later(name: str) -> str:
    return name


@looped
async def test_a_pause_meanwhile_starts_nothing_twice(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db, durability="replicated") as engine:
        submitting = asyncio.ensure_future(engine.submit(steps, "a", id="a"))
        await supervisor.until_asked()
        handle = engine.handle("a")
        asking = [
            asyncio.ensure_future(handle.pause()),
            asyncio.ensure_future(handle.unpause()),
        ]
        await until(lambda: kinds(handle.events())[-1] == "unpaused")
        supervisor.is_open = True
        supervisor.let_pass()
        await submitting
        await asyncio.gather(*asking)
        assert await handle.result() == "a"
        assert ran["a"] == 2


@looped
async def test_what_is_left_at_the_end_is_sent_before_the_engine_is_gone(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor:
        async with Engine(db, durability="replicated") as engine:
            submitting = asyncio.ensure_future(engine.submit(sleeps, id="a"))
            await supervisor.until_asked()
            supervisor.is_open = True
            asyncio.get_running_loop().call_later(0.1, supervisor.let_pass)
        assert (await submitting).created

    async with FakeSupervisor(db) as supervisor:
        async with Engine(db) as engine:
            await (await engine.submit(steps, "local")).result()
            supervisor.is_open = True
        assert supervisor.asked == 1, "of a local one too, as far as there is time"


@workflow
async def sleeps() -> None:
    await sleep(3600)


@looped
async def test_who_only_submits_and_reads_waits_as_well(db: Path) -> None:
    outside = Engine(db, serve=False, durability="replicated")
    async with FakeSupervisor(db) as supervisor, Engine(db, workflows=[steps]), outside:
        submitting = asyncio.ensure_future(outside.submit(steps, "a"))
        await supervisor.until_asked()
        assert not submitting.done()
        supervisor.let_pass()
        finishing = asyncio.ensure_future((await submitting).result())
        await supervisor.until_asked(2)
        assert not finishing.done()
        supervisor.is_open = True
        supervisor.let_pass()
        assert await finishing == "a"


@looped
async def test_how_much_of_a_log_is_safe(db: Path) -> None:
    async with Engine(db) as engine:
        handle = await engine.submit(steps, "a")
        await handle.result()
        assert await handle.safe_version() is None, "nobody could know"
        async with FakeSupervisor(db, is_open=True):
            assert await handle.safe_version() == handle.events()[-1].version


@looped
async def test_why_says_that_it_waits_for_the_bucket(db: Path) -> None:
    async with FakeSupervisor(db) as supervisor, Engine(db, durability="replicated") as engine:
        submitting = asyncio.ensure_future(engine.submit(steps, "a", id="a"))
        await supervisor.until_asked()
        supervisor.say({"note": "S3 does not answer"})
        await until(lambda: engine._owner._scheduler.commits.gate.trouble != "")  # type: ignore[union-attr]
        key = engine.row("a").key
        reply = await asyncio.to_thread(enquire, db, [], [], [key, key + 1])
        assert reply is not None
        assert (reply.held, reply.trouble) == ([key], "S3 does not answer")
        asked = Situation(row=engine.row("a"), story=fold(engine.handle("a").events()))
        assert asked.story.calls[1].is_in_flight, "so it is on record"
        around = await asyncio.to_thread(surroundings, str(db), asked)
        assert asked.story.calls[1].attempts == 0
        told = explain(asked, around)[-1].text
        assert "attempt 1 waits to start: the bucket is to hold it first" in told
        await nothing_is_told_to_have_begun(db)
        supervisor.is_open = True
        supervisor.let_pass()
        await (await submitting).result()


async def told_of(*argv: str | Path) -> Any:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "obelisk_ops", *map(str, argv), "--json", stdout=PIPE
    )
    out, _ = await program.communicate()
    return json.loads(out)


async def nothing_is_told_to_have_begun(db: Path) -> None:
    held = "the bucket is to hold it first"
    [row] = (await told_of("inspect", db))["in_flight"]
    assert (row["call_id"], row["held_back"]) == ("a/1", held)
    assert _since(row) == f"waits to start: {held}"

    told = (await told_of("execution", "report", "a", "--db", db))["sheets"][0]
    assert told["calls"][0]["attempts"] == []
    assert held in str(told["waits"])


@looped
async def test_in_tests_of_workflows_there_is_no_bucket(db: Path) -> None:
    async with EngineForTests(db, durability="replicated") as engine:
        assert await (await engine.submit(precious, "a")).result() == "a"


@pytest.mark.parametrize("durability", ["s3", "", True])
def test_what_is_no_durability(durability: str, db: Path) -> None:
    with pytest.raises(ConfigError, match="is not known"):
        Engine(db, durability=durability)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is not known"):
        workflow(durability=durability)(steps.function)  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="'local' or 'replicated'"):
        act.options(durability=durability)  # type: ignore[arg-type]
