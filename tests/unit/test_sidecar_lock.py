"""The lock on the folder beside a database."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from obelisk_ops.errors import DatabaseLocked
from obelisk_ops.supervise.sidecar import Sidecar


def test_only_one_looks_after_a_database(tmp_path: Path) -> None:
    lock = Sidecar(tmp_path / "a.db").lock()

    with pytest.raises(DatabaseLocked, match=r"pid \d+\) looks after the database a\.db"):
        Sidecar(tmp_path / "a.db").lock()

    lock.release()
    Sidecar(tmp_path / "a.db").lock().release()


def test_a_lock_whose_file_was_removed_is_no_longer_the_lock(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "a.db")
    lock = sidecar.lock()
    assert lock.is_current()

    (sidecar.folder / "supervisor.lock").unlink()

    assert not lock.is_current()
    lock.release()


def test_a_lock_is_not_taken_on_a_file_that_is_just_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar, flock = Sidecar(tmp_path / "a.db"), fcntl.flock
    first = sidecar.lock()

    def flock_late(handle: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        sidecar.remove_blank(first)
        first.release()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    second = sidecar.lock()

    assert second.is_current(), "who comes now is kept out"
    (sidecar.folder / "owner.json").touch()
    sidecar.remove_blank(second)
    assert second.is_current(), "a folder that holds anything stays"
    second.release()
