"""How far an engine may go by what its supervisor told, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.durable.tether import UNREAD, facts, judge, tether_of
from obelisk_ops.storage.sqlite import beside

TOLD: dict[str, Any] = {"lease_deadline_ms": 5_000, "inode": 7, "boot_id": "now"}


@pytest.mark.parametrize(
    ("told", "until_ms", "why"),
    [
        pytest.param({}, None, "", id="no supervisor"),
        pytest.param({"inode": 7, "epoch": 1}, None, "", id="one that has no leases"),
        pytest.param(TOLD | {"lease_deadline_ms": None}, None, "", id="one that was stopped"),
        pytest.param(TOLD | {"inode": 8}, None, "", id="of another file"),
        pytest.param(TOLD | {"lease_deadline_ms": "x"}, None, "", id="nonsense"),
        pytest.param(TOLD, 5_000, "the lease of its supervisor has run out", id="a lease"),
        pytest.param(TOLD | {"boot_id": "before"}, 0, "was not started", id="another boot"),
        pytest.param(
            TOLD | {"lease_deadline_ms": 0}, 0, "another machine owns", id="it was fenced"
        ),
        pytest.param(
            TOLD | {"lease_deadline_ms": 0, "boot_id": "before"}, 0, "another machine owns",
            id="fenced before the boot",
        ),
    ],
)  # fmt: skip
def test_how_far(told: dict[str, Any], until_ms: int | None, why: str) -> None:
    found = judge(told, inode=7, boot="now")

    assert found.until_ms == until_ms
    assert why in found.why
    assert bool(found.why) is (until_ms is not None)


def test_what_cannot_be_read_leaves_what_was_known(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    database.touch()
    note = beside.make_folder(database) / "owner.json"

    assert facts(database, TOLD) == {}, "nobody is there"

    note.write_text("{")
    assert facts(database, TOLD) is TOLD
    note.write_text("[]")
    assert facts(database, TOLD) is TOLD
    note.unlink()
    note.symlink_to(note)  # any error but that it is not there
    assert facts(database, TOLD) is TOLD


def test_who_has_never_read_it_starts_nothing(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    database.touch()
    (beside.make_folder(database) / "owner.json").write_text("{")

    told = facts(database)

    assert told is UNREAD
    found = tether_of(told, database)
    assert found.until_ms == 0
    assert "cannot be read" in found.why


@pytest.mark.parametrize(
    ("opened", "until_ms", "why"),
    [
        pytest.param(TOLD | {"boot_id": "before"}, 0, "was not started", id="of another boot"),
        pytest.param(TOLD | {"lease_deadline_ms": None}, 0, "cannot be read", id="no deadline"),
        pytest.param([], 0, "cannot be read", id="nonsense"),
    ],
)
def test_what_a_loss_of_power_emptied_is_read_in_the_other_note(
    tmp_path: Path, opened: Any, until_ms: int, why: str
) -> None:
    database = tmp_path / "a.db"
    database.touch()
    if isinstance(opened, dict):
        opened |= {"inode": database.stat().st_ino, "socket": "/s"}
    folder = beside.make_folder(database)
    (folder / "owner.json").touch()
    (folder / "opened.json").write_text(json.dumps(opened))

    told = facts(database)

    found = tether_of(told, database)
    assert (found.until_ms, why in found.why) == (until_ms, True)
    assert (told.get("socket") == "/s") is (told is not UNREAD)
    assert facts(database, TOLD) is TOLD, "what was read once is newer"


def test_a_file_that_may_not_be_looked_at_is_not_taken_for_free(tmp_path: Path) -> None:
    loop = tmp_path / "a.db"
    loop.symlink_to(loop)  # stat fails, though something is there

    found = tether_of(TOLD, loop)

    assert found.until_ms == 0
    assert "cannot be seen" in found.why
    assert tether_of({}, loop).until_ms is None, "nobody has a say"
    assert tether_of(TOLD, tmp_path / "gone.db").until_ms is None
