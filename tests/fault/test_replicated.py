"""
What was acknowledged as replicated survives the loss of the machine.

The engine, Litestream and the supervisor are killed at random moments, the disk with the
database is wiped, and the database restored from the bucket. A diary that lies elsewhere
tells what was seen outside: all of that must be in what was restored.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from obelisk_ops import Engine, activity, workflow
from obelisk_ops.core.events import Event
from obelisk_ops.errors import Fenced, ReplicationTimeout
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica import leases
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage import open_reader
from tests.conftest import S3
from tests.engines import looped
from tests.faults import Refused, SwallowedPut
from tests.proxy import Proxy
from tests.supervised import PROGRAM, Supervised
from tests.support import PATIENCE_S, wait_until

SCRIPT = Path(__file__).with_name("precious.py")
#: of a round: the engine, Litestream and in the end everything is killed
KILLS = 3
ran: list[str] = []


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    (tmp_path / "runs").mkdir()
    with Supervised(tmp_path, replica) as supervised:
        yield supervised


@activity
async def act(name: str) -> str:
    ran.append(name)
    return name


@workflow(durability="replicated")
async def precious(name: str) -> str:
    return await act(name)


@pytest.mark.behaviour("O59")
@pytest.mark.parametrize("kills", [3, pytest.param(201, marks=pytest.mark.chaos)])
@pytest.mark.timeout(3600)
def test_acknowledged_steps_survive_the_loss_of_the_disk(
    supervised: Supervised, tmp_path: Path, kills: int
) -> None:
    seed = int(os.environ.get("OBELISK_OPS_TEST_SEED") or random.randrange(2**32))
    print(f"OBELISK_OPS_TEST_SEED={seed}")  # noqa: T201 - shown when it fails
    chance = random.Random(seed)
    database, diary = tmp_path / "runs" / "p.db", tmp_path / "diary"

    for number in range(kills // KILLS):
        supervised.start()
        before = seen(diary)
        kill_at_random(supervised, database, diary, chance)
        assert seen(diary) > before, "nothing was acknowledged in this round"
        shutil.rmtree(database.parent)
        database.parent.mkdir()
        restore(supervised, database)
        assert_all_is_there(database, diary, f"round {number}")


def kill_at_random(
    supervised: Supervised, database: Path, diary: Path, chance: random.Random
) -> None:
    """Let it work, killing parts of it, and kill all of it in the end."""
    with working(database, diary) as first:
        answers = seen(diary, "answered")
        wait_until(lambda: seen(diary, "answered") > answers, 40, "work is acknowledged")
        time.sleep(chance.uniform(0, 0.3))  # not a wait for anything: the moment counts
        first.kill()
    with working(database, diary) as second:
        answers = seen(diary, "answered")
        os.kill(supervised.litestreams["p"], signal.SIGKILL)
        wait_until(lambda: seen(diary, "answered") > answers, 40, "work is acknowledged again")
        time.sleep(chance.uniform(0, 0.5))
        victims = [second.pid, supervised.pid, *supervised.litestreams.values()]
        chance.shuffle(victims)
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(chance.choice([0, 0, 0.01, 0.05]))
    supervised.crash()
    # A Litestream that was started anew meanwhile ends with its supervisor.
    wait_until(lambda: not alive(supervised.folder), 10, "all is dead")


def alive(folder: Path) -> list[str]:
    found = psutil.process_iter(["cmdline", "status"])
    return [
        " ".join(process.info["cmdline"])
        for process in found
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(str(folder) in word for word in process.info["cmdline"] or ())
    ]


def working(database: Path, diary: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(database), str(diary)])


def seen(diary: Path, what: str = "") -> int:
    if not diary.exists():
        return 0
    return sum(line.startswith(what) for line in diary.read_text().splitlines())


def restore(supervised: Supervised, database: Path) -> None:
    command = [
        str(PROGRAM),
        "-c",
        str(supervised.config),
        "restore",
        "p",
        "--to",
        str(database),
    ]
    restored = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert restored.returncode == 0, restored.stderr


def assert_all_is_there(database: Path, diary: Path, when: str) -> None:
    with closing(open_reader(database)) as reader:

        def log(name: str) -> list[Event]:
            row = reader.find(name)
            assert row is not None, f"{when}: {name} is not there"
            return reader.log(row.key)

        for line in diary.read_text().splitlines():
            match line.split():
                case ["submitted", name]:
                    assert log(name)
                case ["answered", name, value]:
                    last = log(name)[-1]
                    assert last.kind == "finished", f"{when}: {line}"
                    assert msgspec.json.decode(last.body)["ok"] == int(value), line
                case ["ran", name, number]:
                    known = [event.kind for event in log(name)]
                    asked, answered = known.count("intended"), known.count("returned")
                    assert asked > int(number), f"{when}: {line} was not on record"
                    assert answered >= int(number), f"{when}: {line} ran before it was due"
                case other:
                    raise AssertionError(f"the diary says {other}")


@looped
async def test_an_outage_holds_everything_back_and_ends_by_itself(
    tmp_path: Path, s3: S3, replica: ReplicaSettings
) -> None:
    (tmp_path / "runs").mkdir()
    database = tmp_path / "runs" / "p.db"
    ran.clear()
    with (
        Proxy(int(s3.endpoint.rpartition(":")[2])) as line,
        Supervised(tmp_path, replace(replica, endpoint=line.endpoint)) as supervised,
    ):
        supervised.start()
        async with Engine(database, workflows=[precious], replication_timeout=1) as engine:
            await soon(engine, "before")
            line.set("refuse")
            async with asyncio.timeout(PATIENCE_S):
                while "does not answer" not in await refusal(engine, "during"):
                    assert ran == ["before"]
            assert ran == ["before"]
            line.set("pass")
            assert await soon(engine, "during") == "during"
            assert ran == ["before", "during"]


async def refusal(engine: Engine, name: str) -> str:
    """Return why one is not acknowledged; at first nobody has asked the bucket yet."""
    with pytest.raises(ReplicationTimeout) as late:
        await engine.submit(precious, name, id=name)
    return late.value.message


async def soon(engine: Engine, name: str) -> str:
    """Run one, however often it is too late."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await (await engine.submit(precious, name, id=name)).result()
            except ReplicationTimeout:
                continue


@looped
async def test_a_supervisor_that_is_lost_is_waited_for(supervised: Supervised) -> None:
    supervised.start()
    ran.clear()
    async with Engine(supervised.folder / "runs" / "p.db") as engine:
        await (await engine.submit(precious, "before")).result()
        supervised.crash()
        submitting = asyncio.ensure_future(engine.submit(precious, "without"))
        await asyncio.wait({submitting}, timeout=0.3)
        assert not submitting.done()
        assert ran == ["before"]
        await asyncio.to_thread(supervised.start)
        assert await (await submitting).result() == "without"


@pytest.mark.fault(25)
@looped
async def test_a_reload_takes_who_waits_to_whoever_looks_after_it_now(
    tmp_path: Path, s3: S3, replica: ReplicaSettings
) -> None:
    (tmp_path / "runs").mkdir()
    ran.clear()
    with (
        Proxy(int(s3.endpoint.rpartition(":")[2])) as line,
        Supervised(tmp_path, replace(replica, endpoint=line.endpoint)) as supervised,
    ):
        supervised.start()
        async with Engine(tmp_path / "runs" / "p.db") as engine:
            await (await engine.submit(precious, "before")).result()
            with line.fault(Refused(503, "SlowDown"), method="GET", path=r"/hosts/") as looks:
                submitting = asyncio.ensure_future(engine.submit(precious, "during"))
                while looks.hits < 2:  # noqa: ASYNC110 - it waits at the barrier
                    await asyncio.sleep(0.05)
                named = [{"path": "runs/*.db", "name": "other-{stem}"}]
                place = replace(replica, endpoint=line.endpoint)
                supervised.configure(place, databases=named)
                supervised.tell(signal.SIGHUP)
                wait_until(lambda: supervised.logged("reloaded"), 10, "another keeper")
            async with asyncio.timeout(PATIENCE_S):
                assert await (await submitting).result() == "during"


@pytest.mark.fault(14)
@looped
async def test_nothing_is_acknowledged_behind_an_upload_that_never_arrived(
    tmp_path: Path, s3: S3, replica: ReplicaSettings
) -> None:
    (tmp_path / "runs").mkdir()
    database = tmp_path / "runs" / "p.db"
    with (
        Proxy(int(s3.endpoint.rpartition(":")[2])) as line,
        Supervised(tmp_path, replace(replica, endpoint=line.endpoint)) as supervised,
    ):
        # Nothing else than the object itself is to hold what is written.
        place = replace(replica, endpoint=line.endpoint)
        supervised.configure(place, litestream={"levels": ["1d"]})
        supervised.start()
        async with Engine(database) as engine:
            await (await engine.submit(precious, "before")).result()
            wait_until(lambda: any("/0009/" in s.path for s in line.seen), 20, "a snapshot")
            with line.fault(SwallowedPut(), method="PUT", path=r"/0000/\w+-\w+\.ltx", times=1):
                await engine.submit(precious, "during")
            async with asyncio.timeout(PATIENCE_S):
                await (await engine.submit(precious, "behind", id="behind")).result()
        row = supervised.row("p")
        assert row is not None
        assert row.epoch == 2, "it was healed before anything more was acknowledged"
        supervised.crash()
        shutil.rmtree(database.parent)
        database.parent.mkdir()
        restore(supervised, database)
    with closing(open_reader(database)) as reader:
        assert reader.find("behind") is not None


@looped
async def test_who_was_taken_over_acknowledges_nothing_more(
    supervised: Supervised, replica: ReplicaSettings, store: ObjectStore
) -> None:
    supervised.start()
    ran.clear()
    async with Engine(supervised.folder / "runs" / "p.db") as engine:
        await (await engine.submit(precious, "before")).result()
        take_over(store, ReplicaKeys(prefix=replica.prefix, name="p"))
        submitting = asyncio.ensure_future(engine.submit(precious, "after"))
        while not submitting.done():
            await asyncio.to_thread(renew, store, replica.prefix)
            await asyncio.wait({submitting}, timeout=0.3)
        with pytest.raises(Fenced) as told:
            await submitting
        assert told.value.exit_status == 9
    assert ran == ["before"]


def take_over(store: ObjectStore, keys: ReplicaKeys) -> None:
    """Do what another machine does first that takes a replica over."""
    before = leases.read_ownership(store, keys)
    assert before is not None
    owner = leases.read_lease(store, keys.prefix, before.ownership.lease)
    assert owner is not None
    leases.revoke(store, keys.prefix, owner, keys.name, before.ownership.claim)
    other = replace(owner.lease, id="other", host="other", mark="other", revoked={})
    leases.create_lease(store, keys.prefix, other)
    claim = replace(
        before.ownership, lease="other", host="other", claim=before.ownership.claim + 1
    )
    leases.write_ownership(store, keys, claim, before)


def renew(store: ObjectStore, prefix: str) -> None:
    """Show that the other machine is alive."""
    seen = leases.read_lease(store, prefix, "other")
    assert seen is not None
    mark = secrets.token_hex(8)
    leases.write_lease(store, prefix, replace(seen.lease, mark=mark), seen.etag)
