"""
Random replicas, and what can be had of them found out by trying everything.

The oracle walks as Litestream does, one transaction after the other, and looks through all
points for a moment; it shares no code with what it judges.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obelisk_ops.core.when import At, Latest, Txid
from obelisk_ops.errors import OpsError, ReplicaGap, RestorePointNotFound
from obelisk_ops.replica.catalogue import LtxFile, Point, Replica, build, find_gaps, walk
from obelisk_ops.replica.epochs import EpochMarker, Parent
from obelisk_ops.restore.choose import choose

NOW = 1_000
LAST = 12


def file(epoch: int, level: int, first: int, last: int) -> LtxFile:
    return LtxFile(
        epoch=epoch, level=level, min_txid=first, max_txid=last, size=200,
        key=f"{epoch}/{level}/{first}-{last}", modified_ms=0,
    )  # fmt: skip


@st.composite
def epochs_of_files(draw: st.DrawFn) -> list[LtxFile]:
    """Level 0 with holes, some compactions, some snapshots: whatever may be left of them."""
    raw = draw(st.sets(st.integers(1, LAST), max_size=LAST))
    spans = draw(st.sets(st.tuples(st.integers(1, LAST), st.integers(1, LAST)), max_size=4))
    snapshots = draw(st.sets(st.integers(1, LAST), max_size=2))
    level = draw(st.integers(1, 3))
    return [
        *(file(1, 0, txid, txid) for txid in sorted(raw)),
        *(file(1, level, min(span), max(span)) for span in sorted(spans)),
        *(file(1, 9, 1, txid) for txid in sorted(snapshots)),
    ]


@st.composite
def replicas(draw: st.DrawFn) -> tuple[Replica, dict[int, int | None]]:
    """Up to three epochs, and of each how much the newest state descends from."""
    count = draw(st.integers(1, 3))
    files = {
        number: [
            file(number, each.level, each.min_txid, each.max_txid)
            for each in draw(epochs_of_files())
        ]
        for number in range(1, count + 1)
    }
    markers, parents = [], dict[int, Parent | None]()
    for number in range(1, count + 1):
        parent = None
        if number > 1:
            branched = draw(st.none() | st.integers(0, LAST))
            parent = Parent(epoch=draw(st.integers(1, number - 1)), txid=branched)
        parents[number] = parent
        markers.append(
            EpochMarker(
                epoch=number,
                parent=parent,
                database_id=None,
                host="h",
                inode=1,
                opened_at_ms=0,
                owner="o",
            )
        )
    kept: dict[int, int | None] = {count: None}
    number = count
    while (step := parents[number]) is not None:
        kept[step.epoch], number = step.txid, step.epoch
    return build("run", files, markers), kept


def reach(files: list[LtxFile], txid: int) -> list[LtxFile]:
    """Return what Litestream would read: the longest step each time, all looked at."""
    usable = [each for each in files if each.max_txid <= txid]
    plan = sorted((each for each in usable if each.level == 9), key=lambda f: f.max_txid)[-1:]
    here = plan[0].max_txid if plan else 0
    while True:
        steps = [
            each for each in usable
            if each.level < 9 and each.min_txid <= here + 1 and each.max_txid > here
        ]  # fmt: skip
        if not steps:
            return plan
        plan.append(max(steps, key=lambda f: (f.max_txid, -f.min_txid, f.level)))
        here = plan[-1].max_txid


def can_end_at(files: list[LtxFile], txid: int) -> bool:
    plan = reach(files, txid)
    return bool(plan) and plan[-1].max_txid == txid


def is_missing(files: list[LtxFile], txid: int) -> bool:
    """Tell whether no file holds a transaction, and some hold later ones."""
    held = any(
        each.max_txid == txid if each.level == 9 else each.min_txid <= txid <= each.max_txid
        for each in files
    )
    return not held and any(each.max_txid > txid for each in files)


@given(epochs_of_files())
@settings(max_examples=150)
def test_points_walks_and_gaps(files: list[LtxFile]) -> None:
    (history,) = build("run", {1: files}, []).epochs

    expected = [txid for txid in range(1, LAST + 1) if can_end_at(files, txid)]
    assert [point.txid for point in history.points] == expected
    for txid in range(1, LAST + 1):
        assert list(walk(files, txid)) == reach(files, txid)
    oldest = expected[0] if expected else 0
    missing = [txid for txid in range(oldest + 1, LAST + 1) if is_missing(files, txid)]
    gaps = find_gaps(files, history.points)
    assert [t for gap in gaps for t in range(gap.after_txid + 1, gap.before_txid)] == missing


def outcome(
    replica: Replica, wish: At | Latest | Txid, at_of: Callable[[Point], int]
) -> object:
    try:
        chosen = choose(replica, wish, now_ms=NOW, at_of=at_of)
    except OpsError as error:
        return type(error)
    return chosen.epoch, chosen.txid


@given(replicas(), st.data())
@settings(max_examples=150)
def test_the_newest_state_by_then_or_a_refusal(
    made: tuple[Replica, dict[int, int | None]], data: st.DataObject
) -> None:
    """On the kept line alone; many states may have one time; never over a gap."""
    replica, kept = made
    line = [
        (history.epoch, txid)
        for history in replica.epochs
        if history.epoch in kept
        for txid in range(1, LAST + 1)
        if can_end_at(list(history.files), txid)
        and ((limit := kept[history.epoch]) is None or txid <= limit)
    ]
    assert [(point.epoch, point.txid) for point in replica.lineage] == line
    steps = data.draw(st.lists(st.integers(0, 3), min_size=len(line), max_size=len(line)))
    times = {point: sum(steps[: n + 1]) for n, point in enumerate(line)}
    asked = data.draw(st.integers(0, 40))

    found = outcome(replica, At(asked), lambda point: times.get((point.epoch, point.txid), 0))

    if not line:
        assert found in (ReplicaGap, RestorePointNotFound)
        return
    before = [point for point in line if times[point] <= asked]
    if not before:
        assert found is RestorePointNotFound
    elif times[before[-1]] < asked and is_gap_behind(replica, kept, line, before[-1]):
        assert found is ReplicaGap
    else:
        assert found == before[-1]
    newest = ReplicaGap if is_gap_behind(replica, kept, line, line[-1]) else line[-1]
    assert outcome(replica, Latest(), lambda _: 0) == newest


def is_gap_behind(
    replica: Replica, kept: dict[int, int | None], line: list[tuple[int, int]],
    point: tuple[int, int],
) -> bool:  # fmt: skip
    """Tell whether a transaction of the kept line is missing right behind a point of it."""
    place = line.index(point)
    end = line[place + 1][0] if place + 1 < len(line) else replica.epochs[-1].epoch
    for history in replica.epochs:
        if history.epoch in kept and point[0] <= history.epoch <= end:
            reached = point[1] if history.epoch == point[0] else 0
            limit = kept[history.epoch]
            is_kept = limit is None or reached < limit
            # What lies before the oldest point of an epoch was pruned.
            is_behind = reached > 0 or not history.points
            if is_kept and is_behind and is_missing(list(history.files), reached + 1):
                return True
    return False


@given(replicas(), st.data())
def test_a_transaction_is_had_exactly_or_not_at_all(
    made: tuple[Replica, dict[int, int | None]], data: st.DataObject
) -> None:
    replica, _ = made
    history = data.draw(st.sampled_from(replica.epochs))
    txid = data.draw(st.integers(0, LAST + 1))

    found = outcome(replica, Txid(txid, history.epoch), lambda _: 0)

    if replica.lineage and can_end_at(list(history.files), txid):
        assert found == (history.epoch, txid)
    else:
        assert found in (ReplicaGap, RestorePointNotFound)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=LAST), st.integers(0, 30))
def test_clocks_that_were_set_never_give_a_later_state(times: list[int], asked: int) -> None:
    """Where times are not in order the answer is not after the moment, and the next one is."""
    replica = build("run", {1: [file(1, 0, n, n) for n in range(1, len(times) + 1)]}, [])

    found = outcome(replica, At(asked), lambda point: times[point.txid - 1])

    if found is RestorePointNotFound:
        assert times[0] > asked
        return
    assert isinstance(found, tuple)
    place = int(found[1]) - 1
    assert times[place] <= asked
    assert place + 1 == len(times) or times[place + 1] > asked


@pytest.mark.parametrize("wish", [Latest(), At(5), Txid(1)])
def test_nothing_is_never_something(wish: At | Latest | Txid) -> None:
    assert outcome(build("run", {}, []), wish, lambda _: 0) is RestorePointNotFound
