"""Requests that meet code which fails in its own way: nobody behind them waits for ever."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import Raw

from obelisk_ops import Engine, Signal, stub, workflow
from obelisk_ops.core.events import Created, encode
from obelisk_ops.durable.nursery import Nursery
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import ExecutionFailed
from obelisk_ops.storage import open_mailbox
from tests.engines import soon, until

T = TypeVar("T")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@workflow
async def quick(value: int) -> int:
    return value


@dataclass
class Picky:
    """A class of a user's, with code of its own."""

    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise RuntimeError("never below zero")


picky = Signal("picky", Picky)


@stub
def picky_stub() -> Picky:
    """Somebody decides."""
    raise NotImplementedError


@workflow
async def hears_picky() -> int:
    received = await picky.receive()
    assert received is not None
    return received.value


@workflow
async def asks_picky() -> int:
    return (await picky_stub()).value


@workflow
async def given_picky(given: Picky) -> int:
    return given.value


def test_a_value_that_a_class_refuses_in_its_own_way_holds_up_nobody(db: Path) -> None:
    created = Created(fn=given_picky.name, input=Raw(b'[{"value":-1}]'))
    letters = [
        ("create", "given", encode(created)),
        ("signal", "hears", '{"name":"picky","value":{"value":-1}}'),
        ("stub", "asks/1", '{"ok":{"value":-1}}'),
    ]

    async def main() -> list[Any]:
        async with Engine(db, workflows=[given_picky]) as engine:
            hears = await engine.submit(hears_picky, id="hears")
            asks = await engine.submit(asks_picky, id="asks")
            with closing(open_mailbox(db)) as mailbox:
                for kind, target, body in letters:
                    assert mailbox.ask(kind, target, body, now_ms=0)
                await until(lambda: not mailbox.letters(9), "all are answered")
            with pytest.raises(ExecutionFailed, match="never below zero"):
                await engine.handle("given").result()
            await engine.stub("asks/1", {"value": 7})
            await hears.signal(picky, Picky(8))
            return [await hears.result(), await asks.result()]

    assert soon(main()) == [8, 7]


def test_a_letter_that_meets_a_bug_holds_up_nobody(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Nursery.begin

    def buggy(
        self: Nursery, execution_id: str, created: Created, *, asked_at: int | None = None
    ) -> Turn:
        if execution_id == "guilty":
            raise ZeroDivisionError
        return begin(self, execution_id, created, asked_at=asked_at)

    async def main() -> int:
        async with Engine(db, workflows=[quick]), Engine(db, serve=False) as client:
            monkeypatch.setattr(Nursery, "begin", buggy)
            await client.submit(quick, 1, id="guilty")
            return await (await client.submit(quick, 2, id="innocent")).result()

    assert soon(main()) == 2
