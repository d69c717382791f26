"""
An activity that runs at most once, killed while its start waits for the bucket.

What never started has no unknown outcome: it is made later, once. What did start has one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from obelisk_ops.durable.enquiry import enquire
from obelisk_ops.errors import OpsError
from obelisk_ops.storage import open_reader
from tests.barriers import FakeSupervisor
from tests.engines import kinds, looped, read_log
from tests.supervised import PROGRAM
from tests.support import PATIENCE_S

SCRIPT = Path(__file__).with_name("paying.py")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    return tmp_path / "diary"


def run(db: Path, diary: Path, *, workflow: str, hangs: bool = False) -> subprocess.Popen[str]:
    command = [
        str(PROGRAM), "run", f"{SCRIPT}:{workflow}", json.dumps(str(diary)),
        "--db", str(db), "--id", "a",
        *(("--durability", "replicated") if workflow == "pays" else ()),
    ]  # fmt: skip
    environment = os.environ | ({"HANGS": "1"} if hangs else {})
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ran(diary: Path) -> str:
    return diary.read_text() if diary.exists() else ""


def key_of(db: Path) -> int | None:
    with suppress(OpsError), closing(open_reader(db)) as reader:
        row = reader.find("a")
        return row.key if row else None
    return None  # it is not made yet


def is_gated(db: Path) -> bool:
    key = key_of(db)
    reply = None if key is None else enquire(db, [], [(key, 1)], [key])
    why = "the bucket is to hold it first"
    return reply is not None and reply.held == [key] and reply.calls == [(key, 1, why)]


async def killed_when(process: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("workflow", ["pays", "pays_for_sure"])
@looped
async def test_what_a_kill_kept_from_starting_is_made_later_and_once(
    db: Path, diary: Path, workflow: str
) -> None:
    for _ in range(2):  # the second one takes it up, and is killed too
        await killed_when(run(db, diary, workflow=workflow), lambda: is_gated(db))
    assert kinds(read_log(db, "a")) == ["created", "intended"]
    assert ran(diary) == ""
    async with FakeSupervisor(db, is_open=True):
        process = run(db, diary, workflow=workflow)
        told, errors = await asyncio.to_thread(process.communicate)
    assert (process.returncode, told.strip()) == (0, '"paid"'), errors
    assert ran(diary) == "ran\n"
    assert kinds(read_log(db, "a")) == [
        "created",
        "intended",
        "attempt_started",
        "returned",
        "finished",
    ]


@looped
async def test_what_waits_only_for_its_company_has_not_started_either(
    db: Path, diary: Path
) -> None:
    await killed_when(run(db, diary, workflow="pays_and_writes"), lambda: is_waiting(db))
    assert '"try"' not in read_log(db, "a")[1].body, "the call that may run once"
    async with FakeSupervisor(db, is_open=True):
        process = run(db, diary, workflow="pays_and_writes")
        told, errors = await asyncio.to_thread(process.communicate)
    assert (process.returncode, told.strip()) == (0, '"paid"'), errors
    assert ran(diary) == "ran\n"


def is_waiting(db: Path) -> bool:
    key = key_of(db)
    reply = None if key is None else enquire(db, [], [], [key])
    return reply is not None and reply.held == [key]


@looped
async def test_what_was_started_and_killed_has_an_unknown_outcome(
    db: Path, diary: Path
) -> None:
    async with FakeSupervisor(db, is_open=True):
        process = run(db, diary, workflow="pays", hangs=True)
        await killed_when(process, diary.exists)
        process = run(db, diary, workflow="pays")
        _, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 13, errors
    assert "the process ended during attempt 1 of paying.pay" in errors
    assert ran(diary) == "ran\n"
