"""A machine image that is started twice, with the lease in it: one of the two writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.replica.epochs import read_epochs
from obelisk_ops.settings import load
from obelisk_ops.supervise.rights import party_of
from obelisk_ops.supervise.sidecar import Sidecar
from tests.conftest import S3
from tests.machines import Machines, copy_runs, ops, rows_at, rows_of
from tests.supervised import Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("two-machines")


@pytest.fixture
def machines(tmp_path: Path, s3: S3) -> Iterator[Machines]:
    with Machines(tmp_path, s3.replica()) as made:
        yield made


def copy_lease(source: Supervised, target: Supervised) -> None:
    """Give the second machine the lease of the first, as if boot and folder were the same."""
    (note,) = (source.folder / ".obelisk-ops").rglob("lease.json")
    kept = json.loads(note.read_bytes())
    folder = target.folder / ".obelisk-ops"
    folder.mkdir(mode=0o700)
    party = party_of(load(target.config), None)
    kept |= {"folder": folder.stat().st_ino, "place": party.place}
    (folder / note.name).write_text(json.dumps(kept))


@pytest.mark.fault(18)
def test_of_two_with_one_lease_one_is_fenced(machines: Machines) -> None:
    # It is renewed soon, and does not run out on a busy machine.
    first, second = (machines.add(name, ttl_s=9) for name in ("first", "second"))
    database = first.database("a")
    database.write(3)
    first.start()
    first.until_safe("a")
    (lease,) = {told["lease"] for told in first.logged("lease_held")}
    copy_runs(first, second)
    copy_lease(first, second)

    second.start()

    first.until("a", lambda row: row.state == "fenced", 15, "it is fenced")
    assert [told["lease"] for told in second.logged("lease_held")] == [lease]
    assert [told["why"] for told in first.logged("lease_lost")] == [
        "another process goes on with it"
    ]
    wait_until(lambda: first.litestreams == {}, 5, "its Litestream is killed")
    database.write(2)
    second.database("a").write_one("of the second")
    second.until("a", is_safe, 15, "the other one goes on")
    assert first.status()[1] == 9
    assert [(m.epoch, m.host) for m in read_epochs(machines.store, machines.keys)] == [
        (1, "first"), (2, "second"),
    ]  # fmt: skip
    assert (
        rows_at(second)
        == rows_of(second.folder / "runs" / "a.db")
        == [0, 1, 2, "of the second"]
    )


@pytest.mark.chaos
@pytest.mark.fault(18)
def test_a_takeover_while_the_old_owner_is_just_beginning(machines: Machines) -> None:
    """It has lost its note, and so begins with an epoch of its own."""
    old, new = machines.add("old"), machines.add("new")
    old.database("a").write(3)
    assert old.once().returncode == 0
    (old.folder / "runs" / ".a.db-obelisk" / "owner.json").unlink()
    (new.folder / "runs").mkdir()
    target = new.folder / "runs" / "a.db"

    old.start()  # it opens an epoch of its own, for its note is gone
    done = ops(new, "takeover", "a", "--json", "--to", target)

    assert done.returncode == 0, done.stderr
    note = Sidecar(target).owner()
    newest = read_epochs(machines.store, machines.keys)[-1]
    assert note is not None
    assert (newest.host, newest.owner) == ("new", note.owner)
    old.until("a", lambda row: row.state == "fenced", 15, "it is fenced")
    wait_until(lambda: old.litestreams == {}, 5, "nothing of it writes")
    new.start()
    new.database("a").write_one("of the new one")
    new.until_safe("a", 15)
    assert read_epochs(machines.store, machines.keys)[-1].owner == newest.owner
    assert rows_at(new) == rows_of(target) == [0, 1, 2, "of the new one"]
