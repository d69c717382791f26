"""One run for all who ask while another is under way."""

from __future__ import annotations

import asyncio

import pytest

from obelisk_ops.supervise.sharing import Shared
from tests.engines import looped


class Work:
    """Counts its runs; each ends when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.ends: list[asyncio.Future[int]] = []

    async def run(self) -> int:
        self.begun += 1
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]


@looped
async def test_what_is_shared_began_after_everybody_asked() -> None:
    work = Work()
    shared = Shared(work.run)
    first = asyncio.ensure_future(shared.once())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(shared.once()) for _ in range(5)]
    await asyncio.sleep(0)
    assert work.begun == 1

    work.ends[0].set_result(1)
    assert await first == 1
    await asyncio.wait(others, timeout=0.01)
    assert work.begun == 2
    work.ends[1].set_result(2)
    assert await asyncio.gather(*others) == [2] * 5


@looped
async def test_what_goes_wrong_is_told_to_those_who_shared_it_alone() -> None:
    work = Work()
    shared = Shared(work.run)
    asking = [asyncio.ensure_future(shared.once()) for _ in range(2)]
    await asyncio.wait(asking, timeout=0.01)
    asking[0].cancel()
    work.ends[0].set_exception(OSError("away"))
    with pytest.raises(OSError, match="away"):
        await asking[1]

    again = asyncio.ensure_future(shared.once())
    await asyncio.wait({again}, timeout=0.01)
    work.ends[1].set_result(2)
    assert await again == 2
