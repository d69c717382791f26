"""What becomes of a file whose replica others have claimed, or whose marker got lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import pytest

from obelisk_ops.errors import Fenced, OpsError, S3Unavailable
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, Parent, newest_epoch, open_epoch
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.leases import NOBODY, Ownership, read_ownership, write_ownership
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.opening import Opened, Presence, refuse_outdated, settle
from obelisk_ops.supervise.ownership import File, Owner, Restored
from obelisk_ops.supervise.sidecar import Sidecar
from tests.buckets import MemoryStore

T = TypeVar("T")

KEYS = ReplicaKeys(prefix="p", name="db")


class Line:
    """Requests that are carried out at once, but for what happens just before a marker."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.before_marker: Callable[[], None] = lambda: None

    async def call(self, request: Callable[[ObjectStore], T], *, is_write: bool = False) -> T:
        if is_write:
            self.before_marker()
        return request(cast("ObjectStore", self._store))


@dataclass
class Machine:
    """One file, and the claims for it."""

    folder: Path
    store: MemoryStore
    host: str

    def __post_init__(self) -> None:
        self.line = Line(self.store)
        self.sidecar = Sidecar(self.folder / f"{self.host}.db")
        self.file = File(name="db", host=self.host, inode=7)

    def claim(self, lease: str = "") -> Ownership:
        store = cast("ObjectStore", self.store)
        seen = read_ownership(store, KEYS)
        before = seen.ownership if seen else None
        ours = Ownership(
            lease=lease or self.host,
            host=self.host,
            claim=before.claim + 1 if before else 1,
            previous=before.lease if before else NOBODY,
            claimed_at_ms=0,
        )
        write_ownership(store, KEYS, ours, seen)
        return ours

    def settle(self, ours: Ownership) -> Opened:
        presence = Presence(boot_id="b", socket=None, pid=1, now_ms=1, ownership=ours)
        settling = settle(cast("Bucket", self.line), KEYS, self.file, self.sidecar, presence)
        return asyncio.run(settling)

    def restore(self, epoch: int, txid: int, *, claim: int | None) -> None:
        """Leave the note of a restore."""
        restored = Restored(
            name="db", epoch=epoch, txid=txid, at_ms=5, inode=self.file.inode, claim=claim
        )
        self.sidecar.folder.mkdir(exist_ok=True)
        (self.sidecar.folder / "restored.json").write_bytes(msgspec.json.encode(restored))

    def refuse_outdated(self) -> None:
        line = cast("Bucket", self.line)
        asyncio.run(refuse_outdated(line, KEYS, self.file, self.sidecar))

    def ship(self, epoch: int, txid: int) -> None:
        name = f"{1:016x}-{txid:016x}.ltx"
        self.store.put(f"{KEYS.level(epoch, 0)}{name}", b"x")

    def newest(self) -> EpochMarker:
        found = newest_epoch(cast("ObjectStore", self.store), KEYS)
        assert found is not None
        return found

    def note(self) -> Owner:
        found = self.sidecar.owner()
        assert found is not None
        return found


@pytest.fixture
def here(tmp_path: Path) -> Machine:
    return Machine(tmp_path, MemoryStore(), "here")


@pytest.fixture
def there(here: Machine) -> Machine:
    return Machine(here.folder, here.store, "there")


def marker_of(machine: Machine, epoch: int, parent: Parent | None) -> EpochMarker:
    return EpochMarker(
        epoch=epoch, parent=parent, database_id=None, host=machine.host, inode=9,
        opened_at_ms=0, owner=f"drawn by {machine.host}",
    )  # fmt: skip


@pytest.mark.parametrize("leases", [("a", "a"), ("a", "b")])
def test_nobody_was_between_two_claims_in_a_row(here: Machine, leases: tuple[str, str]) -> None:
    first, second = leases
    here.settle(here.claim(first))

    opened = here.settle(here.claim(second))

    assert (opened.owner.epoch, opened.is_new) == (1, False)


def test_who_claims_it_back_from_another_goes_on_in_the_next_epoch(
    here: Machine, there: Machine
) -> None:
    here.settle(here.claim())
    there.claim()

    opened = here.settle(here.claim())

    assert (opened.owner.epoch, opened.is_new) == (2, True)
    late = marker_of(there, 2, Parent(epoch=1, txid=10))
    with pytest.raises(OpsError):  # what the other one read of epoch 1 is not the newest
        open_epoch(cast("ObjectStore", here.store), KEYS, late)


def test_who_lost_the_claim_before_the_marker_opens_nothing(
    here: Machine, there: Machine
) -> None:
    ours = here.claim()

    def sleep() -> None:
        there.claim()
        open_epoch(cast("ObjectStore", here.store), KEYS, marker_of(there, 1, None))

    here.line.before_marker = sleep

    with pytest.raises(Fenced, match="has claimed 'db' meanwhile"):
        here.settle(ours)
    assert (here.newest().epoch, here.newest().host) == (1, "there")


@pytest.mark.parametrize("is_written", [False, True])
def test_a_marker_without_an_answer_is_tried_again_as_it_was(
    here: Machine, *, is_written: bool
) -> None:
    here.settle(here.claim())
    here.ship(1, 9)
    here.sidecar.write_suspect(4)
    ours = here.claim()
    if is_written:
        here.store.lost_answers = 1
    else:
        here.line.before_marker = _no_answer
    with pytest.raises(S3Unavailable):
        here.settle(ours)
    here.line.before_marker = lambda: None

    opened = here.settle(here.claim())

    assert opened.owner.epoch == 2
    assert here.newest().parent == opened.owner.parent == Parent(epoch=1, txid=4)
    assert here.newest().owner == opened.owner.owner
    assert here.sidecar.suspect() is None
    assert not here.sidecar.meta(1).exists()
    assert here.settle(here.claim()).is_new is False


def test_an_earlier_try_that_comes_late_is_the_same_opening(here: Machine) -> None:
    here.settle(here.claim())
    here.sidecar.write_suspect(4)
    here.line.before_marker = _no_answer
    with pytest.raises(S3Unavailable):
        here.settle(here.claim())
    note = here.note()
    late = replace(marker_of(here, 2, note.parent), owner=note.owner)
    store = cast("ObjectStore", here.store)
    here.line.before_marker = lambda: open_epoch(store, KEYS, late)

    opened = here.settle(here.claim())

    assert (opened.owner.epoch, here.newest()) == (2, late)


def test_who_was_about_to_open_what_another_has_opened_is_out_of_date(
    here: Machine, there: Machine
) -> None:
    here.settle(here.claim())
    here.sidecar.write_suspect(4)
    here.line.before_marker = _no_answer
    with pytest.raises(S3Unavailable):
        here.settle(here.claim())
    here.line.before_marker = lambda: None
    there.settle(there.claim())

    with pytest.raises(Fenced, match="epoch 2 was opened by there"):
        here.settle(here.claim())


def test_of_two_copies_of_the_newest_state_the_second_is_out_of_date(
    here: Machine, there: Machine
) -> None:
    there.settle(there.claim())
    there.ship(1, 10)
    first, second = (Machine(here.folder, here.store, host) for host in ("first", "second"))
    first.restore(1, 10, claim=0)
    second.restore(1, 10, claim=0)
    first.refuse_outdated()
    second.refuse_outdated()

    first.settle(first.claim())
    first.ship(2, 3)

    with pytest.raises(Fenced, match="restored as the newest state of 'db'"):
        second.refuse_outdated()
    with pytest.raises(Fenced, match="restored as the newest state of 'db'"):
        second.settle(second.claim())
    assert second.sidecar.owner() is None
    assert second.newest().epoch == 2


def test_a_copy_is_as_new_as_before_where_nothing_was_shipped_since(
    here: Machine, there: Machine
) -> None:
    there.settle(there.claim())
    there.ship(1, 10)
    lost = Machine(here.folder, here.store, "lost")
    lost.restore(1, 10, claim=0)
    lost.settle(lost.claim())
    here.restore(1, 10, claim=0)

    assert here.settle(here.claim()).owner.epoch == 3
    assert here.newest().parent == Parent(epoch=1, txid=10)


@pytest.mark.parametrize("claim", [None, 2])
def test_what_was_chosen_or_taken_over_goes_on_whatever_came_later(
    here: Machine, there: Machine, claim: int | None
) -> None:
    there.settle(there.claim())
    ours = here.claim()
    here.restore(1, 10, claim=claim)
    there.ship(1, 11)

    assert here.settle(ours).owner.epoch == 2
    assert here.newest().parent == Parent(epoch=1, txid=10)


def test_a_stamp_that_a_loss_of_power_left_unreadable_does_not_hide_the_note(
    tmp_path: Path,
) -> None:
    sidecar = Sidecar(tmp_path / "a.db")
    owner = Owner(name="a", host="h", inode=1, epoch=2, owner="x", is_marked=True)
    sidecar.write_owner(owner)
    sidecar.stamp(5, "boot")
    note = sidecar.folder / "owner.json"

    note.write_bytes(b"")
    assert sidecar.owner() == owner

    note.unlink()  # by a person, who means it
    assert sidecar.owner() is None


def _no_answer() -> None:
    raise S3Unavailable("no answer")
