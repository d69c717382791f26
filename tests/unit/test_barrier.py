"""Who waits at the barrier of a supervisor, and what it is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from obelisk_ops.errors import Unavailable
from obelisk_ops.supervise import barrier
from obelisk_ops.supervise.barrier import Barrier
from obelisk_ops.supervise.keeper import Keeper
from tests.barriers import until
from tests.engines import looped


class Away:
    """A keeper of a database whose bucket does not answer."""

    owner = process = tracker = None
    doubts = SimpleNamespace(problem=lambda: None)

    def __init__(self) -> None:
        self.is_retired = False
        self.reason = "S3 is away"
        self.asked = 0

    def why_not(self) -> str:
        self.asked += 1
        return self.reason

    def is_fenced_for(self, _ms: int) -> bool:
        return False


@looped
async def test_it_says_what_it_waits_for_once_and_gives_up_with_the_keeper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(barrier, "_AGAIN_S", 0)
    keeper, told = Away(), list[str]()
    passing = asyncio.ensure_future(Barrier(cast("Keeper", keeper)).passed(told.append))
    await until(lambda: keeper.asked > 2)
    keeper.reason = "S3 is still away"
    before = keeper.asked
    await until(lambda: keeper.asked > before + 2)
    assert told == ["S3 is away", "S3 is still away"]

    keeper.is_retired = True
    with pytest.raises(Unavailable, match="still away"):
        await asyncio.wait_for(passing, 5)
