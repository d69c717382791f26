"""
A takeover that begins at each of the requests of an owner, also of one that is just opening.

The owner freezes before one of its requests is sent, or before it has the answer, and goes on
at one of those of the takeover. Its Litestream ships all the time. One that opens has lost its
note, so that it opens an epoch of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest

from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import read_epochs
from obelisk_ops.supervise import takeover
from tests.buckets import MemoryStore
from tests.unit.test_lease_model import KEYS, Line, let_pass, watch
from tests.unit.test_takeover_model import (
    Successor,
    check_histories,
    check_kept,
    play,
    playing,
)
from tests.world import World

__all__ = ["playing"]

#: So many requests a takeover makes, and its lease meanwhile; behind that it has ended.
_MOMENTS = 34
#: Of an owner: all those of an opening, and of the lease meanwhile; some of one at work.
_REQUESTS = {True: 12, False: 4}
_ASKS_WITHIN_S, _TAKES_WITHIN_S, _SETTLES_WITHIN_S = 10.0, 60.0, 16.0


class Counting(Line):
    """A line on which something happens at one request."""

    _rest = 0

    def count(self, at: int, then: Callable[[], None], *, is_sent: bool) -> None:
        self._rest, self._then, self._is_sent = at, then, is_sent

    async def call(self, request: Callable[[ObjectStore], Any], **_: bool) -> Any:
        self._rest -= 1
        if self._rest == 0:
            self._then()
            if not self._is_sent:
                await self._machine.go_on_after(0)
        return await super().call(request)


class Watched(Successor):
    """A machine whose requests are counted."""

    def new_line(self, draw: random.Random) -> Counting:
        return Counting(self, self.store, draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """
    When the owner freezes, and when it goes on.

    Attributes:
        is_opening: Whether the owner is opening an epoch, and not at work.
        frozen_at: One of its requests.
        is_sent: Whether that is carried out all the same.
        thawed_at: One of the requests of the takeover; when that is over, if it made less.
    """

    is_opening: bool
    frozen_at: int
    is_sent: bool
    thawed_at: int


class Scene:
    """An owner in epoch 1, and another machine."""

    def __init__(self, folder: Path, world: World) -> None:
        draw = random.Random(0)
        self.store = MemoryStore()
        self.old, self.new = (
            Watched(host, folder / host, self.store, world, draw) for host in ("old", "new")
        )
        self.new.path.unlink()
        self.machines = (self.old, self.new)
        for machine in self.machines:
            machine.is_troubled = False
        self.taking = self.new.own_line = self.new.new_line(draw)
        self.is_frozen = asyncio.Event()

    async def play(self, moment: Moment) -> None:
        works = [
            asyncio.ensure_future(work)
            for m in self.machines
            for work in (m.lease.run(), m.keep(), m.ship(), m.confirm())
        ]
        works.append(asyncio.ensure_future(watch(list(self.machines))))
        await let_pass(2, works)
        assert self.old.kept
        self._begin_anew(moment)
        freezing = asyncio.ensure_future(self.is_frozen.wait())
        await let_pass(_ASKS_WITHIN_S, [*works, freezing])
        assert freezing.done(), "it makes so many requests"
        taking = asyncio.ensure_future(self.new.take_over())
        await let_pass(_TAKES_WITHIN_S, [*works, taking])
        assert taking.done()
        self._thaw()
        await let_pass(_SETTLES_WITHIN_S, works)
        self._check()
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _begin_anew(self, moment: Moment) -> None:
        if moment.is_opening:
            old = self.old
            old.tenure.end()
            old.tenure.release()
            (old.sidecar.folder / "owner.json").unlink()
            old.tenure = old.new_tenure()
            old._shipping = old._shipped = None
        cast("Counting", self.old.line).count(
            moment.frozen_at, self._freeze, is_sent=moment.is_sent
        )
        self.taking.count(moment.thawed_at, self._thaw, is_sent=True)

    def _freeze(self) -> None:
        self.old._thawed.clear()
        self.is_frozen.set()

    def _thaw(self) -> None:
        self.old._thawed.set()

    def _check(self) -> None:
        check_kept(self.store, self.machines)
        check_histories(self.store)
        notes = [m.tenure.owner for m in self.machines if m.tenure.owner]
        newest = read_epochs(cast("ObjectStore", self.store), KEYS)[-1]
        owners = [(note.epoch, note.owner) for note in notes]
        assert owners == [(newest.epoch, newest.owner)], "one owns it, in the newest epoch"


def play_all(folder: Path, thawed_at: Callable[[bool], Sequence[int]]) -> None:
    """Freeze it at each of its first requests, with and without that one."""
    for is_opening, most in _REQUESTS.items():
        for frozen_at, is_sent in product(range(1, most + 1), (False, True)):
            for at in thawed_at(is_sent):
                place = folder / "scene"
                place.mkdir()
                moment = Moment(
                    is_opening=is_opening, frozen_at=frozen_at, is_sent=is_sent, thawed_at=at
                )
                world = World(place)
                try:
                    world.run(Scene(place, world).play(moment))
                except AssertionError as failure:
                    raise AssertionError(f"{moment}: {failure}") from failure
                shutil.rmtree(place)


@pytest.fixture
def scenes(playing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Looks at the lease of the owner while it waits would be most of what a takeover asks.
    monkeypatch.setattr(takeover, "_LOOK_S", 20.0)


@pytest.mark.fault(18)
@pytest.mark.usefixtures("scenes")
def test_a_takeover_while_the_owner_opens(tmp_path: Path) -> None:
    draw = random.Random(1)
    # What was not sent comes when all is over.
    play_all(tmp_path, lambda sent: [draw.randrange(1, _MOMENTS) if sent else _MOMENTS])


@pytest.mark.chaos
@pytest.mark.fault(18)
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("scenes")
def test_a_takeover_while_the_owner_opens_at_any_two_moments(tmp_path: Path) -> None:
    play_all(tmp_path, lambda _: range(1, _MOMENTS + 1))


@pytest.mark.chaos
@pytest.mark.fault(18, 19)
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("playing")
@pytest.mark.parametrize("batch", range(8))
def test_two_hundred_histories_of_three_machines(tmp_path: Path, batch: int) -> None:
    given = os.environ.get("OBELISK_OPS_TEST_SEED")
    first = (int(given) if given else random.randrange(2**32)) + 25 * batch
    taken = 0
    for seed in range(first, first + 25):
        print(f"OBELISK_OPS_TEST_SEED={seed}")  # noqa: T201 - to repeat a failure
        place = tmp_path / f"{seed}"
        place.mkdir()
        world = World(place)
        taken += world.run(play(place, world, random.Random(seed)))
    assert taken > 10
