"""Requests of another process, while the owner runs and while it does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops import Engine, run, workflow
from obelisk_ops.core import events
from obelisk_ops.core.ports import State
from obelisk_ops.errors import DatabaseLocked, ExecutionNotFound
from obelisk_ops.storage import open_mailbox, open_reader
from tests.engines import until
from tests.support import PATIENCE_S


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@workflow
async def flow(n: int) -> int:
    return n


WORKER = "from obelisk_ops.cli import main; main()"


@contextmanager
def worker(db: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker of another process, serving tests/fault/flows.py."""
    flows = Path(__file__).with_name("flows.py")
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, "worker", str(flows), "--db", str(db)],
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "serving" in process.stderr.readline()
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=180)


def load_flows() -> Any:
    from obelisk_ops.durable.flow.loader import load_module  # noqa: PLC0415 - its side effects

    return load_module(str(Path(__file__).with_name("flows.py")))


def test_others_ask_through_the_mailbox(db: Path, tmp_path: Path) -> None:
    flows, side = load_flows(), str(tmp_path / "side")

    async def ask(name: str) -> Any:
        async with Engine(db, serve=False) as engine:
            handle = await engine.submit(flows.steps, side, 3, id=name)
            again = await engine.submit(flows.steps, side, 3, id=name)
            assert (handle.created, again.created) == (True, False)
            if name == "before":
                return None
            return await asyncio.wait_for(handle.result(), PATIENCE_S)

    run(flow, 1, db=db)  # so that there is a database
    asyncio.run(ask("before"))
    with worker(db) as process:
        assert process.pid
        assert asyncio.run(ask("while")) == 3
        with pytest.raises(DatabaseLocked):
            run(flow, 1, db=db)

    with closing(open_reader(db)) as reader:
        row = reader.find("before")
        assert row is not None
        assert row.state is State.FINISHED
        assert reader.letters(1) == []
    assert sorted(Path(side).read_text().split()[::2]) == [
        "before/1", "before/2", "before/3", "while/1", "while/2", "while/3",
    ]  # fmt: skip


def test_many_ask_beside_a_busy_owner(db: Path, tmp_path: Path) -> None:
    """A request is not refused because the owner commits at the same moment."""
    flows, side = load_flows(), str(tmp_path / "side")
    run(flow, 1, db=db)

    async def ask() -> list[Any]:
        async with Engine(db, serve=False) as engine:
            handles = [
                await engine.submit(flows.steps, side, 5, id=f"n-{n}") for n in range(100)
            ]
            return [await asyncio.wait_for(handle.result(), PATIENCE_S) for handle in handles]

    with worker(db):
        assert asyncio.run(ask()) == [10] * 100


def test_a_full_mailbox_is_emptied_and_what_nobody_understands_stays(db: Path) -> None:
    run(flow, 1, db=db)
    body = events.encode(events.Created(fn=flow.name, input=Raw(b"[7]")))
    with closing(open_mailbox(db)) as mailbox:
        for n in range(1100):
            if n == 3:
                mailbox.ask("create", "unreadable", "{", now_ms=1)
            mailbox.ask("create", f"n-{n}", body, now_ms=1)

    async def serve() -> None:
        async with Engine(db, workflows=[flow]) as engine:
            await until(lambda: len(engine.list(limit=5000)) == 1101, "all are begun")
            assert await engine.handle("n-1099").result() == 7

    asyncio.run(serve())

    with closing(open_reader(db)) as reader:
        assert [letter.target for letter in reader.letters(10)] == ["unreadable"]


def test_who_only_reads_is_told_what_is_not_there(db: Path) -> None:
    run(flow, 1, db=db, id="f")

    async def look() -> Any:
        async with Engine(db, serve=False, workflows=[flow]) as engine:
            with pytest.raises(ExecutionNotFound):
                engine.handle("nobody")
            assert [row.id for row in engine.list()] == ["f"]
            return await engine.handle("f").result()

    assert asyncio.run(look()) == 1
