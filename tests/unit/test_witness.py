"""What becomes of a file whose last commit the index does not know, as a table."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import structlog

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import StorageUnavailable, Unavailable
from obelisk_ops.litestream.likeness import Likeness
from obelisk_ops.litestream.local import level0_file
from obelisk_ops.supervise import witness
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.witness import Witness

SAME, LEFT, OTHER = Likeness.SAME, Likeness.UNFINISHED, Likeness.DIFFERENT
FLEET = cast("Fleet", SimpleNamespace(clock=SystemClock(), log=structlog.get_logger()))


@pytest.mark.parametrize(
    ("seen", "after", "looked_for", "doubtful"),
    [
        pytest.param([SAME], SAME, False, None, id="it is sound"),
        pytest.param([LEFT, SAME], SAME, False, None, id="somebody was at work on it"),
        pytest.param([None, None], None, False, None, id="it cannot be told now"),
        pytest.param([LEFT], SAME, True, None, id="it was left, and found"),
        pytest.param([LEFT], LEFT, True, 7, id="another was written over it, a shorter one"),
        pytest.param([OTHER], OTHER, False, 7, id="others were written over it"),
        pytest.param([OTHER, SAME], SAME, False, None, id="a checkpoint came in between"),
        pytest.param([LEFT], None, True, None, id="another program holds the lock"),
    ],
)
def test_a_file(
    monkeypatch: pytest.MonkeyPatch,
    *,
    seen: list[Likeness | None],
    after: Likeness | None,
    looked_for: bool,
    doubtful: int | None,
) -> None:
    looks, searches = iter(seen), list[Path]()
    last = [seen[-1]]

    def compare(*_: object) -> Likeness | None:
        last[0] = after if searches else next(looks, last[0])
        return last[0]

    def find(database: Path, *, leaves_note: bool) -> bool:
        assert not leaves_note, "it is compared, and need not be guessed"
        searches.append(database)
        if after is None:
            raise StorageUnavailable("held")
        return True

    monkeypatch.setattr(witness, "compare", compare)
    monkeypatch.setattr(witness, "find_overlooked_commit", find)
    monkeypatch.setattr(witness, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(witness, "_AGAIN_S", 0.0)
    monkeypatch.setattr(witness, "_VOUCHED_MS", 0)
    told = list[Likeness | None]()

    async def look() -> Witness:
        looking = Witness("x", Path("x.db"), FLEET, lambda: told.append(seen[0]))
        looking.look(Path("meta"), 6)
        with suppress(Unavailable):
            await looking.vouch(Path("meta"), 7)
        return looking

    looking = asyncio.run(look())

    assert bool(searches) is looked_for
    assert bool(told) is (seen != [SAME]), "who is sound need not be looked at again"
    assert looking.doubtful == doubtful
    assert looking.since_ms is None


@pytest.mark.parametrize(
    ("seen", "txid", "is_vouched", "compared"),
    [
        pytest.param([SAME], 6, True, 0, id="there when the look began"),
        pytest.param([SAME], 7, True, 1, id="new and sound"),
        pytest.param([SAME], 9, True, 3, id="several"),
        pytest.param([OTHER], 7, False, 1, id="another was written over it"),
        pytest.param([SAME, OTHER], 9, False, 2, id="over the second one"),
        pytest.param([None], 7, False, 1, id="it cannot be told now"),
    ],
)
@pytest.mark.parametrize("size", [100, 1 << 20], ids=["little", "much"])
def test_who_asks_for_it_is_answered_when_it_is_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    size: int,
    seen: list[Likeness | None],
    txid: int,
    is_vouched: bool,
    compared: int,
) -> None:
    asked, found = set[int](), dict(zip(range(7, 10), seen, strict=False))
    for one in range(7, 10):
        file = level0_file(tmp_path, one)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))

    def compare(_database: Path, _meta: Path, txid: int) -> Likeness | None:
        asked.add(txid)
        return found.get(txid, seen[-1])

    monkeypatch.setattr(witness, "compare", compare)
    monkeypatch.setattr(witness, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(witness, "_AGAIN_S", 0.0)
    monkeypatch.setattr(witness, "_VOUCHED_MS", 0)

    async def vouch() -> bool:
        looking = Witness("x", Path("x.db"), FLEET, lambda: None)
        with pytest.raises(Unavailable):
            await looking.vouch(tmp_path, 6)  # nobody has looked at that epoch yet
        looking.look(tmp_path, 6)
        try:
            await looking.vouch(tmp_path, txid)
        except Unavailable:
            return False
        return True

    assert asyncio.run(vouch()) is is_vouched
    assert asked == set(range(7, 7 + compared))


def test_what_cannot_be_told_is_asked_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def look() -> None:
        told = asyncio.Event()
        looking = Witness("x", Path("x.db"), FLEET, told.set)
        looking.look(Path("meta"), 6)
        looking.look(Path("meta"), 7)
        await asyncio.wait_for(told.wait(), 20)

    monkeypatch.setattr(witness, "compare", lambda *_: None)
    monkeypatch.setattr(asyncio, "sleep", pause)
    asyncio.run(look())

    assert pauses
