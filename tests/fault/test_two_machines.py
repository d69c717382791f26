"""Two machines and one prefix: who may write, who is fenced, and what is left in the bucket."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from obelisk_ops.replica.epochs import Parent, read_epochs
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.leases import list_leases
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.supervise.sidecar import Sidecar
from tests.conftest import S3
from tests.machines import LASTING_S, TTL_S, Machines, copy_runs, ops, points, rows_at
from tests.supervised import PROGRAM, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("two-machines")

#: The time to live, the margin, and the time between two looks.
RUN_OUT_S = TTL_S + 1 + 1


@pytest.fixture
def machines(tmp_path: Path, s3: S3) -> Iterator[Machines]:
    with Machines(tmp_path, s3.replica()) as made:
        yield made


def newest_of(machine: Supervised, epoch: int) -> str:
    txids = [point["txid"] for point in points(machine) if point["epoch"] == epoch]
    return f"e{epoch:04d}/txid:{txids[-1]}"


def newest_txid(machines: Machines, *, epoch: int) -> int:
    history = read_replica(machines.store, machines.keys).history(epoch)
    assert history is not None
    return history.points[-1].txid


def has_said(machine: Supervised, state: str) -> bool:
    return any(told["state"] == state for told in machine.logged("state"))


def deadline(machine: Supervised) -> Any:
    note = Sidecar(machine.folder / "runs" / "a.db").owner()
    assert note is not None
    return note.lease_deadline_ms


@pytest.mark.fault(18)
def test_the_second_supervisor_is_fenced_until_the_first_has_gone(machines: Machines) -> None:
    first, second = machines.add("first", ttl_s=9), machines.add("second", ttl_s=LASTING_S)
    first.database("a").write(3)
    first.start()
    first.until_safe("a")
    copy_runs(first, second)

    done = second.once("--json")
    row = json.loads(done.stdout)["databases"][0]
    assert (done.returncode, row["state"], row["reason"]) == (9, "fenced", "fenced")
    assert row["detail"].startswith("owned by first (its lease was renewed ")
    second.start()
    row = second.until("a", lambda row: row.state == "fenced" and row.epoch, 10, "fenced")
    assert (row.owner, row.epoch) == ("first", 1), "it says whose it is"
    assert second.status()[1] == 9
    assert second.litestreams == {}
    first.database("a").write()
    first.until_safe("a")

    before = deadline(first)
    wait_until(lambda: deadline(first) > before, 5, "the engine is told of each renewal")

    assert first.stop()[0] == 0
    assert deadline(first) is None, "the engine asks nobody any more"
    second.until_safe("a", 15)
    owners = [marker.host for marker in read_epochs(machines.store, machines.keys)]
    assert owners == ["first", "second"]
    assert len(list_leases(machines.store, machines.replica.prefix)) == 1
    assert second.stop()[0] == 0
    assert list_leases(machines.store, machines.replica.prefix) == {}, "none piles up"


@pytest.mark.fault(7, 19)
def test_a_supervisor_that_was_stopped_for_longer_than_its_time_writes_nothing_new(
    machines: Machines,
) -> None:
    first, second = machines.add("first"), machines.add("second", ttl_s=LASTING_S)
    first.database("a").write(3)
    first.start()
    first.until_safe("a")
    copy_runs(first, second)
    psutil.Process(first.pid).suspend()
    second.start()
    wait_until(lambda: has_said(second, "fenced"), 10, "it may live")
    # The frozen supervisor's Litestream ships on.
    late = first.database("a")
    late.write(2)
    second.until("a", is_safe, 2 * RUN_OUT_S + 10, "taken over")
    late.write(2)
    second.database("a").write(1)
    second.until_safe("a")

    psutil.Process(first.pid).resume()
    row = first.until("a", lambda row: "by second" in row.detail, 10, "it is fenced")
    assert (row.state, row.owner, row.epoch) == ("fenced", "second", 2)
    wait_until(lambda: first.litestreams == {}, 5, "its Litestream is killed")
    late.write(2)
    assert first.status()[1] == 9
    assert deadline(first) == 0, "the engine beside it stops"

    markers = read_epochs(machines.store, machines.keys)
    assert [(m.epoch, m.host) for m in markers] == [(1, "first"), (2, "second")]
    # Each epoch is exactly one machine's history, and the newest is that of the second.
    assert rows_at(second, newest_of(second, 2)) == [0, 1, 2, 0]
    assert rows_at(second, newest_of(second, 1))[:3] == [0, 1, 2]
    assert rows_at(second) == [0, 1, 2, 0]


def test_a_supervisor_without_s3_ends_its_litestreams_and_goes_on_in_its_epoch(
    machines: Machines,
) -> None:
    only = machines.add("only")
    database = only.database("a")
    database.write(3)
    only.start()
    only.until_safe("a")
    pid = only.litestreams["a"]
    before = len(
        only.logged("lease_lapsed")
    )  # it may have been late once, as the machine was busy

    machines.lines["only"].set("refuse")
    database.write(2)
    wait_until(lambda: len(only.logged("lease_lapsed")) > before, RUN_OUT_S, "its time is over")
    wait_until(lambda: only.litestreams == {}, 5, "and its Litestream has ended")
    database.write(2)
    row = only.until("a", lambda row: row.state == "lagging", 8, "it says so")
    assert row.unsent_transactions
    machines.lines["only"].set("pass")
    only.until_safe("a", 20)

    assert only.litestreams["a"] != pid
    assert len(read_epochs(machines.store, machines.keys)) == 1
    assert rows_at(only) == [0, 1, 2, 0, 1, 0, 1]


def take_over(machine: Supervised, *options: str) -> tuple[Any, str]:
    """Take the database over; return what was told as JSON, and on stderr."""
    target = machine.folder / "runs" / "a.db"
    target.parent.mkdir(exist_ok=True)
    done = ops(machine, "takeover", "a", "--to", target, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_takeover_from_a_machine_that_lives(machines: Machines) -> None:
    old, new = machines.add("old", ttl_s=9), machines.add("new", ttl_s=LASTING_S)
    database = old.database("a")
    database.write(3)
    old.database("b").write()
    old.start()
    for name in ("a", "b"):
        old.until_safe(name)

    plan, _ = take_over(new, "--dry-run")
    assert (plan["from"]["host"], plan["epoch"], plan["dry_run"]) == ("old", 2, True)
    assert list((new.folder / "runs").iterdir()) == []
    taken, _ = take_over(new)

    assert (taken["epoch"], taken["from"]["host"]) == (2, "old")
    assert taken["from"]["ended"] == "acknowledged"
    assert taken["parent"] == {"epoch": 1, "txid": taken["obtained"]["txid"]}
    old.until("a", lambda row: row.state == "fenced", 10, "the old owner says so")
    assert set(old.litestreams) == {"b"}
    assert deadline(old) == 0, "the engine beside it stops"
    old.until_safe("b")
    new.start()
    new.database("a").write(1)
    new.until_safe("a")
    old.until("a", lambda row: "by new" in row.detail, 10, "it says whose it is")
    database.write(1)
    assert rows_at(new) == [0, 1, 2, 0]
    markers = read_epochs(machines.store, machines.keys)
    assert markers[1].parent == Parent(epoch=1, txid=taken["parent"]["txid"])


def test_a_takeover_from_a_dead_machine_waits_and_orphans_what_comes_late(
    machines: Machines,
) -> None:
    old, new = machines.add("old"), machines.add("new", ttl_s=LASTING_S)
    database = old.database("a")
    database.write(3)
    old.start()
    old.until_safe("a")
    supervisor, child = psutil.Process(old.pid), psutil.Process(old.litestreams["a"])
    supervisor.suspend()
    child.suspend()
    database.write(2)  # in its log alone, to be shipped late

    taken, said = take_over(new)

    assert taken["from"]["ended"] == "ran out"
    assert taken["from"]["waited_seconds"] > TTL_S
    assert "waiting for old to let go" in said
    before = taken["parent"]["txid"]
    child.resume()
    wait_until(lambda: newest_txid(machines, epoch=1) > before, 10, "it ships late")
    supervisor.resume()
    old.until("a", lambda row: row.state == "fenced", 10, "fenced")

    late = [p for p in points(new) if p["txid"] > before and p["epoch"] == 1]
    assert [point["orphaned"] for point in late] == [True]
    new.start()
    new.database("a").write(1)
    new.until_safe("a")
    assert rows_at(new) == [0, 1, 2, 0]


@pytest.mark.chaos
def test_two_takeovers_at_once_have_one_winner(machines: Machines) -> None:
    old = machines.add("old")
    old.database("a").write(3)
    old.start()
    old.until_safe("a")
    assert old.stop()[0] == 0
    new = [machines.add(f"new{number}") for number in range(2)]
    for machine in new:
        (machine.folder / "runs").mkdir()
    running = [
        subprocess.Popen(
            [PROGRAM, "-c", machine.config, "takeover", "a", "--json", "--to",
             machine.folder / "runs" / "a.db"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for machine in new
    ]  # fmt: skip
    for process in running:
        process.communicate(timeout=180)
    won = [process.returncode == 0 for process in running]
    markers = read_epochs(machines.store, machines.keys)
    assert any(won)
    assert [m.epoch for m in markers] == list(range(1, len(markers) + 1))
    for machine, has_won in zip(new, won, strict=True):
        note = Sidecar(machine.folder / "runs" / "a.db").owner()
        is_newest = note is not None and note.owner == markers[-1].owner
        assert is_newest <= has_won, "nobody is the newest without being told so"


@pytest.mark.fault(8)
def test_a_backup_that_is_expected_and_missing_is_not_begun_anew(machines: Machines) -> None:
    only = machines.add("only")
    only.database("a").write()
    assert only.once().returncode == 0
    elsewhere = replace(machines.replica, prefix=f"{machines.replica.prefix}-mistyped")
    only.configure(elsewhere)

    done = only.once("--json")

    row = json.loads(done.stdout)["databases"][0]
    assert (done.returncode, row["reason"]) == (10, "backup_missing")
    assert "owner.json" in row["detail"]
    keys = ReplicaKeys(prefix=elsewhere.prefix, name="a")
    assert read_epochs(machines.store, keys) == []


def test_a_prefix_inside_another_one_is_refused(machines: Machines) -> None:
    only = machines.add("only")
    only.database("a").write()
    only.start()
    only.until_safe("a")
    inside = replace(machines.replica, prefix=f"{machines.replica.prefix}/a/more")
    (only.folder / "other").mkdir()
    with Supervised(only.folder / "other", inside, host="other") as other:
        other.database("a").write()

        done = other.once("--json")

    row = json.loads(done.stdout)["databases"][0]
    assert (done.returncode, row["state"], row["reason"]) == (9, "fenced", "fenced")
    assert f"lies in '{machines.replica.prefix}'" in row["detail"]
    assert not any("/more/" in info.key for info in machines.store.list(machines.keys.root))
