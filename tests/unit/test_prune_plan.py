"""What may go of a replica, against an oracle that restores every promised moment."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from obelisk_ops.core.when import Txid
from obelisk_ops.errors import VerificationFailed
from obelisk_ops.replica.catalogue import LtxFile, Point, Replica, build, walk
from obelisk_ops.replica.epochs import EpochMarker, Parent
from obelisk_ops.restore.choose import choose
from obelisk_ops.restore.prune.plan import MARGIN_MS, Proof, PrunePlan, make_plan
from obelisk_ops.restore.prune.service import check_plan

MINUTE = 60_000


def file(level: int, first: int, last: int, at_ms: int, epoch: int = 1) -> LtxFile:
    return LtxFile(
        epoch=epoch, level=level, min_txid=first, max_txid=last, size=10, modified_ms=at_ms,
        key=f"e{epoch}/{level}/{first}-{last}",
    )  # fmt: skip


def marker(epoch: int, parent: Parent | None) -> EpochMarker:
    return EpochMarker(
        epoch=epoch, parent=parent, database_id=None, host="h", inode=1, opened_at_ms=0,
        owner=f"o{epoch}",
    )  # fmt: skip


def written(draw: Random, epoch: int, begin_ms: int) -> list[LtxFile]:
    """Return what Litestream might have left of an epoch."""
    count = draw.randint(1, 40)
    times = [begin_ms]
    for _ in range(count):
        times.append(times[-1] + draw.choice([1_000, 20_000, MINUTE, 30 * MINUTE]))
    files = [file(0, n, n, times[n], epoch) for n in range(1, count + 1)]
    compacted = list[LtxFile]()
    first = 1
    while first <= count:
        last = min(first + draw.randint(0, 6), count)
        if last < count or draw.random() < 0.5:
            late = times[last] + draw.choice([0, 5_000, 25_000])
            compacted.append(file(1, first, last, late, epoch))
        first = last + 1
    covered = max((one.max_txid for one in compacted), default=0)
    kept_single = draw.randint(0, covered)
    files = [one for one in files if one.max_txid > kept_single]
    snapshots = sorted(draw.sample(range(1, count + 1), min(count, draw.randint(0, 4))))
    return [*files, *compacted, *(file(9, 1, n, times[n] + 2_000, epoch) for n in snapshots)]


def random_replica(draw: Random) -> Replica:
    files: dict[int, list[LtxFile]] = {}
    markers: list[EpochMarker] = []
    begin_ms = 0
    for epoch in range(1, draw.randint(1, 3) + 1):
        before = files.get(epoch - 1)
        branch = draw.choice(before).max_txid if before else None
        parent = Parent(epoch=epoch - 1, txid=branch) if before else None
        markers.append(marker(epoch, parent))
        files[epoch] = written(draw, epoch, begin_ms)
        begin_ms = max(one.modified_ms for one in files[epoch]) + draw.choice([0, MINUTE])
    return build("run", files, markers)


def without(replica: Replica, gone: set[LtxFile]) -> Replica:
    files = {e.epoch: [f for f in e.files if f not in gone] for e in replica.epochs}
    return build("run", files, [e.marker for e in replica.epochs if e.marker])


def way_to(replica: Replica, point: Point) -> tuple[int, int, tuple[LtxFile, ...]]:
    history = replica.history(point.epoch)
    return point.epoch, point.txid, walk(history.files if history else (), point.txid)


@pytest.mark.parametrize("seed", range(150))
def test_what_is_promised_restores_as_before_whatever_part_was_deleted(seed: int) -> None:
    draw = Random(seed)
    replica = random_replica(draw)
    newest = replica.points[-1]
    # A writer captures before the object arrives, by clocks that differ a little.
    late = {point: draw.randint(-1_000, 30_000) for point in replica.points}
    last_ms = max(point.listed_ms for point in replica.points)
    cutoff_ms = draw.randint(0, last_ms + 10 * MINUTE)
    plan = make_plan(replica, cutoff_ms, Proof(at_ms=cutoff_ms + MINUTE, epoch=newest.epoch))
    check_plan(replica, plan)

    doomed = sorted(plan.doomed, key=lambda one: one.key)
    for gone in (set(doomed), set(draw.sample(doomed, draw.randint(0, len(doomed))))):
        after = without(replica, gone)
        for at_ms in [
            cutoff_ms,
            last_ms + MINUTE,
            *draw.choices(range(cutoff_ms, last_ms + 2 * MINUTE) or [cutoff_ms], k=5),
        ]:
            found = [moment(one, at_ms, late) for one in (replica, after)]
            assert found[0] == found[1], f"the state at {at_ms}"
        for point in replica.points:
            if point.listed_ms >= cutoff_ms:
                wish = Txid(point.txid, point.epoch)
                kept = choose(after, wish, now_ms=1 << 60, at_of=lambda p: p.listed_ms)
                assert way_to(after, kept) == way_to(replica, point)


def moment(
    replica: Replica, at_ms: int, late: dict[Point, int]
) -> tuple[int, int, tuple[LtxFile, ...]] | None:
    """Return what a restore of a moment reads, by looking at every point."""
    by_place = {(point.epoch, point.txid): how for point, how in late.items()}
    best = None
    for point in replica.lineage:
        if point.listed_ms - by_place[point.epoch, point.txid] <= at_ms:
            best = point
    return way_to(replica, best) if best else None


def planned(replica: Replica, cutoff_ms: int, *, proven: int) -> PrunePlan:
    return make_plan(replica, cutoff_ms, Proof(at_ms=cutoff_ms, epoch=proven))


HOURLY = [file(0, n, n, n * 60 * MINUTE) for n in range(1, 9)]
SNAPSHOTS = [file(9, 1, n, n * 60 * MINUTE) for n in (3, 6)]
COMPACTED = [file(1, 1, 4, 4 * 60 * MINUTE), file(1, 5, 8, 8 * 60 * MINUTE)]


def test_of_a_live_epoch_only_what_ends_before_a_snapshot_goes() -> None:
    live = build("run", {1: [*HOURLY, *SNAPSHOTS, *COMPACTED]}, [marker(1, None)])

    plan = planned(live, 7 * 60 * MINUTE, proven=1)

    assert {one.key for one in plan.doomed} == {"e1/9/1-3", "e1/1/1-4"}
    assert plan.epochs[0].is_live


def test_a_closed_epoch_goes_whole_once_a_later_one_is_proven() -> None:
    files = {1: [*HOURLY, *SNAPSHOTS], 2: [file(0, 1, 1, 20 * 60 * MINUTE, 2)]}
    both = build("run", files, [marker(1, None), marker(2, Parent(epoch=1, txid=8))])

    assert len(planned(both, 30 * 60 * MINUTE, proven=2).epochs[0].doomed) == len(files[1])
    assert planned(both, 30 * 60 * MINUTE, proven=1).doomed == ()
    # What leads to the state at the cut-off stays.
    early = planned(both, 10 * 60 * MINUTE, proven=2)
    single = {f"e1/0/{n}-{n}" for n in range(1, 6)}
    assert {one.key for one in early.doomed} == single | {"e1/9/1-3"}


def test_the_last_chain_never_goes() -> None:
    alone = build("run", {1: HOURLY}, [marker(1, None)])

    assert planned(alone, 999 * 60 * MINUTE, proven=1).doomed == ()


def test_a_plan_that_would_cost_a_point_is_refused() -> None:
    live = build("run", {1: [*HOURLY, *SNAPSHOTS]}, [marker(1, None)])
    plan = planned(live, 7 * 60 * MINUTE, proven=1)
    wrong = replace(plan, epochs=(replace(plan.epochs[0], doomed=(SNAPSHOTS[1],)),))

    with pytest.raises(VerificationFailed, match="would cost transaction"):
        check_plan(live, wrong)


def test_the_margin_is_for_clocks_that_differ() -> None:
    live = build("run", {1: [*HOURLY, *SNAPSHOTS]}, [marker(1, None)])
    edge_ms = SNAPSHOTS[1].modified_ms

    assert planned(live, edge_ms, proven=1).doomed == ()
    assert planned(live, edge_ms + 2 * MARGIN_MS, proven=1).doomed != ()
