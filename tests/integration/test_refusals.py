"""Who asks from another process learns that the owner has refused, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from obelisk_ops import Engine
from obelisk_ops.errors import InvalidInput
from tests.integration.test_operating import Commands, until_it_waits, worker


def test_who_sends_what_is_no_such_signal_is_told(tmp_path: Path) -> None:
    beside = Commands(tmp_path / "runs.db")
    beside.submit("approved", name="a")
    beside.submit("approved", name="b", more=("--paused",))
    with worker(beside.db):
        until_it_waits(beside, "a", "signal")

        for name in ("a", "b"):
            refused = beside.run("signal", name, "approve", '"yes"')
            assert (refused.status, refused.out) == (2, "")
            assert refused.error["code"] == "invalid_input"
            assert "signal approve, which is bool: Expected `bool`" in refused.error["message"]
            assert "still waits" in refused.error["hint"]

        async def from_python() -> bool:
            async with Engine(beside.db, serve=False) as engine:
                with pytest.raises(InvalidInput):
                    await engine.handle("a").signal("approve", 7)
                return await engine.handle("a").signal("approve", True)  # noqa: FBT003

        assert asyncio.run(from_python()) is True
        assert beside("result", "a", "--wait", "90") == "yes"


def test_who_gives_a_stub_what_does_not_fit_is_told(tmp_path: Path) -> None:
    beside = Commands(tmp_path / "runs.db")
    beside.submit("asks", "tea?", name="a")
    with worker(beside.db):
        until_it_waits(beside, "a", "stub")

        for _ in range(2):
            refused = beside.run("stub", "a/1", "[1, 2]")
            assert (refused.status, refused.out) == (2, "")
            assert refused.error["code"] == "invalid_input"
            assert refused.error["hint"] == "the call still waits"

        async def from_python() -> bool:
            async with Engine(beside.db, serve=False) as engine:
                with pytest.raises(InvalidInput):
                    await engine.stub("a/1", 7)
                return await engine.stub("a/1", "please")

        assert asyncio.run(from_python()) is True
        assert beside("result", "a", "--wait", "90") == "please"


def test_who_gives_a_stub_of_a_paused_execution_what_does_not_fit_is_told(
    tmp_path: Path,
) -> None:
    beside = Commands(tmp_path / "runs.db")
    beside.submit("asks", "tea?", name="a")
    with worker(beside.db):
        until_it_waits(beside, "a", "stub")
        beside("pause", "a")
    # It is not in the memory of the next one, which serves its code.
    with worker(beside.db):
        refused = beside.run("stub", "a/1", "[1, 2]")
        assert (refused.status, refused.error["code"]) == (2, "invalid_input")
        assert refused.error["hint"] == "the call still waits"

        assert beside("stub", "a/1", '"please"')["changed"]
        beside("unpause", "a")
        assert beside("result", "a", "--wait", "90") == "please"
        assert "set_aside" not in beside.kinds("a")
