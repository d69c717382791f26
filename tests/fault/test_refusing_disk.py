"""A disk that refuses what the supervisor writes: an error, and no word of success."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.objectstore import open_store
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.ledger import Ledger
from obelisk_ops.supervise.ownership import Owner
from obelisk_ops.supervise.party import Party
from obelisk_ops.supervise.position import Remote
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.status import Row
from tests.supervised import Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise")

REFUSING = Path(__file__).with_name("refusing.py")
OWNER = Owner(name="a", host="h", inode=1, epoch=1, owner="x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """How one of the notes is written, by the number of an epoch, and read."""

    write: Callable[[Path, int], None]
    read: Callable[[Path], object]


def write_owner(folder: Path, number: int) -> None:
    Sidecar(folder / "a.db").write_owner(replace(OWNER, epoch=number))


def read_owner(folder: Path) -> object:
    owner = Sidecar(folder / "a.db").owner()
    return owner and owner.epoch


def write_ledger(folder: Path, number: int) -> None:
    ledger = Ledger(folder, epoch=1, owner="x")
    ledger.note(Remote(txid=number))
    ledger.write(0)


def read_ledger(folder: Path) -> object:
    return Ledger(folder, epoch=1, owner="x").acknowledged.txid


def party(folder: Path) -> Party:
    file = folder / "lease.json"
    return Party(prefix="p", place="p", host="h", boot_id="b", ttl_ms=1, file=file)


def write_lease(folder: Path, number: int) -> None:
    party(folder).keep(str(number))


def read_lease(folder: Path) -> object:
    kept = party(folder).kept()
    return kept and int(kept)


@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
@pytest.mark.parametrize(
    "note",
    [
        pytest.param(Note(write=write_owner, read=read_owner), id="of an epoch"),
        pytest.param(Note(write=write_ledger, read=read_ledger), id="ledger"),
        pytest.param(Note(write=write_lease, read=read_lease), id="of the lease"),
    ],
)
@pytest.mark.fault(28)
def test_a_note_is_the_old_or_the_new_one_and_a_refusal_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, note: Note
) -> None:
    """Each call of its kind fails once, until a run gets through without meeting one."""
    real, refusals = getattr(os, call), 0
    for fatal in range(1, 20):
        calls = 0

        def refuse(*arguments: Any, fatal: int = fatal, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fatal:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **options)

        note.write(tmp_path, 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            try:
                note.write(tmp_path, 2)
            except StorageUnavailable as error:
                refused = error
            else:
                break
        refusals += 1
        assert "Input/output error" in refused.message
        assert note.read(tmp_path) in {1, 2}, f"{call} number {fatal}"
    assert refusals > 0
    assert note.read(tmp_path) == 2


@pytest.mark.fault(28)
def test_a_supervisor_on_a_disk_that_refuses_says_so_and_ships_nothing_it_cannot_note(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    flag = tmp_path / "refused"

    def refused(words: str, state: str, reason: str) -> Row:
        flag.write_text(words)
        return supervised.until(
            "a",
            lambda row: "Input/output error" in row.detail and row.state == state,
            20,
            f"{words} is refused",
        )

    with Supervised(tmp_path, replica) as supervised:
        database = supervised.database("a")
        database.write()
        flag.write_text("lease.json")
        supervised.start(program=[sys.executable, REFUSING, flag])
        without_lease = refused("lease.json", "unknown", "storage_unavailable")
        without_note = refused("opened.json", "unknown", "storage_unavailable")
        shipped = [info.key for info in open_store(replica).list(f"{replica.prefix}/a/e")]
        without_config = refused(".yml", "backoff", "litestream")
        flag.write_text("")
        row = supervised.until_safe("a", 30)

        flag.write_text("ledger.json")
        database.write()
        wait_until(lambda: supervised.logged("ledger"), 20, "the ledger cannot be written")
        after = supervised.until(
            "a", lambda r: is_safe(r) and r != row, 20, "safe all the same"
        )
        behind = ledger_txid(database.path)
        flag.write_text("")
        wait_until(lambda: ledger_txid(database.path) > behind, 20, "written after all")

    assert without_lease.replica_txid is without_note.replica_txid is None
    assert shipped == []
    assert without_config.epoch == row.epoch == after.epoch == 1
    assert behind < (after.replica_txid or 0)
    assert "Input/output error" in supervised.logged("ledger")[0]["error"]
    assert not supervised.logged("bug")


@pytest.mark.fault(28)
def test_a_doubt_that_cannot_be_noted_is_not_forgotten(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    flag = tmp_path / "refused"
    flag.touch()
    with Supervised(tmp_path, replica) as supervised:
        database = supervised.database("a")
        database.write()
        supervised.start(program=[sys.executable, REFUSING, flag])
        supervised.until_safe("a")
        older = shutil.copyfile(database.path, tmp_path / "older")
        database.write()
        supervised.until("a", lambda row: (row.replica_txid or 0) > 1, 20, "shipped")

        flag.write_text("suspect")
        shutil.copyfile(older, database.path)
        row = supervised.until(
            "a", lambda row: "Input/output error" in row.detail, 20, "no note of a doubt"
        )
        assert (row.state, row.reason) == ("unknown", "storage_unavailable")
        flag.write_text("")
        supervised.until("a", lambda row: row.epoch == 2, 30, "an epoch of its own")
        assert not supervised.logged("bug")


def ledger_txid(database: Path) -> int:
    sidecar = Sidecar(database)
    owner = sidecar.owner()
    assert owner is not None
    return Ledger(sidecar.folder, epoch=1, owner=owner.owner).acknowledged.txid
