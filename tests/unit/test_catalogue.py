# ruff: noqa: E501 - tables are read by their columns
"""Restore points, gaps and lineage; compared with a brute-force reading of the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.objectstore import ObjectInfo
from obelisk_ops.replica.catalogue import (
    LtxFile,
    build,
    find_gaps,
    lineage,
    ltx_file,
    restore_points,
    walk,
)
from obelisk_ops.replica.epochs import EpochMarker, Parent


def file(level: int, first: int, last: int, *, epoch: int = 1) -> LtxFile:
    key = f"{epoch}/{level}/{first}-{last}"
    return LtxFile(
        epoch=epoch, level=level, min_txid=first, max_txid=last, key=key, size=10,
        modified_ms=last * 1000,
    )  # fmt: skip


def files(*shapes: tuple[int, int, int]) -> list[LtxFile]:
    return [file(*shape) for shape in shapes]


def singles(*txids: int) -> list[LtxFile]:
    return [file(0, txid, txid) for txid in txids]


def txids(listing: list[LtxFile]) -> list[int]:
    return [point.txid for point in restore_points(listing)]


def gaps(listing: list[LtxFile]) -> list[tuple[int, int]]:
    return [
        (gap.after_txid, gap.before_txid) for gap in find_gaps(listing, restore_points(listing))
    ]


CASES = [
    # what                               files                                             points           gaps
    ("nothing",                          [],                                               [],              []),
    ("raw files",                        singles(1, 2, 3),                                 [1, 2, 3],       []),
    ("the first is missing",             singles(2, 3),                                    [],              [(0, 2)]),
    ("one is missing",                   singles(1, 2, 4, 5),                              [1, 2],          [(2, 4)]),
    ("two are missing, twice",           singles(1, 4, 7),                                 [1],             [(1, 4), (4, 7)]),
    ("compaction covers the hole",       [*singles(1, 2, 4, 5), file(1, 1, 4)],            [1, 2, 4, 5],    []),
    ("expired below a compaction",       [*singles(6, 7, 8, 9), file(1, 1, 4), file(1, 5, 8)],
                                                                                           [4, 8, 9],       []),
    ("snapshot only",                    files((9, 1, 7)),                                 [7],             []),
    ("snapshot, then raw",               [file(9, 1, 7), *singles(8, 9)],                  [7, 8, 9],       []),
    ("pruned before the snapshot",       [file(9, 1, 7), file(1, 4, 6), *singles(7, 8)],   [7, 8],          []),
    ("snapshot behind a hole",           [*singles(1, 2), file(9, 1, 5), *singles(5, 6)],  [1, 2, 5, 6],    [(2, 5)]),
    ("snapshot inside a hole",           [*singles(1, 2), file(9, 1, 5), *singles(8)],     [1, 2, 5],       [(2, 5), (5, 8)]),
    ("snapshot across a hole",           [*singles(1, 2, 4), file(9, 1, 4), *singles(5)],  [1, 2, 4, 5],    [(2, 4)]),
    ("overlapping compactions",          files((1, 1, 5), (2, 3, 9), (1, 6, 8)),           [5, 8, 9],       []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("listing", "points", "holes"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_points_and_gaps(
    listing: list[LtxFile], points: list[int], holes: list[tuple[int, int]]
) -> None:
    assert txids(listing) == points
    assert gaps(listing) == holes


PENDING = [
    # what                               files                                              pending
    ("a snapshot ahead of the rest",     [*singles(1, 2), file(9, 1, 5)],                   [True]),
    ("the rest went on without them",    [*singles(1, 2, 6), file(9, 1, 5)],                [False]),
    ("no snapshot",                      singles(1, 2, 6),                                  [False]),
    ("lost, and then ahead again",       [*singles(1, 4), file(9, 1, 7)],                   [False, True]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("listing", "pending"), [case[1:] for case in PENDING], ids=[case[0] for case in PENDING]
)
def test_a_snapshot_may_be_ahead(listing: list[LtxFile], pending: list[bool]) -> None:
    found = find_gaps(listing, restore_points(listing))

    assert [gap.is_pending for gap in found] == pending


def test_the_walk_takes_the_newest_snapshot_then_what_reaches_furthest() -> None:
    listing = [
        file(9, 1, 4), file(9, 1, 20), file(1, 1, 6), file(1, 5, 8), file(2, 3, 8),
        *singles(9, 10, 11),
    ]  # fmt: skip

    plan = walk(listing, 10)

    assert [(f.level, f.min_txid, f.max_txid) for f in plan] == [
        (9, 1, 4), (2, 3, 8), (0, 9, 9), (0, 10, 10),
    ]  # fmt: skip


def test_a_point_is_timed_by_its_least_compacted_file() -> None:
    (point,) = restore_points([file(9, 1, 7), file(2, 1, 7)])

    assert point.level == 2


def test_ten_thousand_files_are_quick() -> None:
    listing = singles(*range(1, 10_001))

    assert len(restore_points(listing)) == 10_000
    assert len(walk(listing, 10_000)) == 10_000
    assert find_gaps(listing, restore_points(listing)) == ()


SHAPES = st.builds(
    lambda level, first, length: file(
        level, 1 if level == 9 else first, max(first, first + length)
    ),
    st.sampled_from([0, 0, 0, 1, 2, 9]),
    st.integers(1, 12),
    st.integers(0, 5),
)
LISTINGS = st.lists(SHAPES, max_size=12, unique_by=lambda f: f.key)


def can_reach(listing: list[LtxFile], txid: int) -> bool:
    """Try every order of files, with no cleverness at all."""
    open_states, seen = [0], {0}
    while open_states:
        state = open_states.pop()
        for step in listing:
            usable = step.max_txid <= txid and step.min_txid <= state + 1
            if usable and step.max_txid > state and step.max_txid not in seen:
                seen.add(step.max_txid)
                open_states.append(step.max_txid)
    return txid in seen


@given(LISTINGS)
def test_points_are_where_some_order_of_files_ends(listing: list[LtxFile]) -> None:
    ends = {f.max_txid for f in listing}

    assert txids(listing) == sorted(txid for txid in ends if can_reach(listing, txid))


@given(LISTINGS, st.integers(0, 20))
def test_the_walk_ends_at_a_point_exactly_when_asked_for_one(
    listing: list[LtxFile], txid: int
) -> None:
    plan = walk(listing, txid)

    reached = [step.max_txid for step in plan]
    assert reached == sorted(set(reached))
    assert (reached[-1:] == [txid]) == (txid in txids(listing))
    before = 0
    for step in plan:
        assert step.min_txid <= before + 1
        before = step.max_txid


@given(LISTINGS)
def test_gaps_are_what_no_file_holds(listing: list[LtxFile]) -> None:
    held = {
        txid
        for f in listing
        for txid in ([f.max_txid] if f.level == 9 else range(f.min_txid, f.max_txid + 1))
    }
    points = txids(listing)

    missing = {txid for after, before in gaps(listing) for txid in range(after + 1, before)}

    oldest = points[0] if points else 0
    assert missing == set(range(oldest + 1, max(held, default=0) + 1)) - held


@given(LISTINGS)
def test_no_point_is_skipped_without_a_gap(listing: list[LtxFile]) -> None:
    """What is not reachable is behind a gap, or lies inside a file that is."""
    points, holes = txids(listing), gaps(listing)

    for unreachable in {f.max_txid for f in listing} - set(points):
        before = max((txid for txid in points if txid < unreachable), default=0)
        behind_gap = any(after == before for after, _ in holes)
        inside = any(
            f.max_txid in points and f.min_txid <= unreachable < f.max_txid for f in listing
        )
        assert behind_gap or inside


def marker(epoch: int, parent: Parent | None) -> EpochMarker:
    return EpochMarker(
        epoch=epoch, parent=parent, database_id=None, host=f"host{epoch}", inode=epoch,
        opened_at_ms=epoch, owner=f"o{epoch}",
    )  # fmt: skip


def branch(epoch: int, txid: int | None) -> Parent:
    return Parent(epoch=epoch, txid=txid)


LINEAGES = [
    # what                          parents                                              kept
    ("none",                        {},                                                  {}),
    ("one",                         {1: None},                                           {1: None}),
    ("two",                         {1: None, 2: branch(1, 7)},                          {1: 7, 2: None}),
    ("unknown branch point",        {1: None, 2: branch(1, None)},                       {1: None, 2: None}),
    ("three in a row",              {1: None, 2: branch(1, 7), 3: branch(2, 5)},         {1: 7, 2: 5, 3: None}),
    ("back to the first",           {1: None, 2: branch(1, 7), 3: branch(1, 3)},         {1: 3, 3: None}),
    ("the parent is gone",          {2: branch(1, 7)},                                   {2: None}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parents", "kept"), [case[1:] for case in LINEAGES], ids=[case[0] for case in LINEAGES]
)
def test_lineage(parents: dict[int, Parent | None], kept: dict[int, int | None]) -> None:
    assert lineage(parents) == kept


def test_points_behind_a_branch_are_orphaned() -> None:
    listing = {1: singles(1, 2, 3), 2: [file(0, 1, 1, epoch=2)]}

    replica = build("run", listing, [marker(1, None), marker(2, branch(1, 2))])

    seen = [(p.epoch, p.txid, p.orphaned) for p in replica.points]
    assert seen == [(1, 1, False), (1, 2, False), (1, 3, True), (2, 1, False)]
    assert [(p.epoch, p.txid) for p in replica.lineage] == [(1, 1), (1, 2), (2, 1)]
    assert replica.owner == "host2"


def test_an_epoch_that_was_only_opened_is_not_yet_current() -> None:
    replica = build("run", {1: singles(1, 2)}, [marker(1, None), marker(2, branch(1, 2))])

    assert replica.current is not None
    assert replica.current.epoch == 1
    assert replica.objects == 2
    assert replica.size == 20


def test_epochs_whose_markers_are_lost_are_still_found() -> None:
    replica = build("run", {1: singles(1), 2: [file(0, 1, 1, epoch=2)]}, [])

    assert [p.orphaned for p in replica.points] == [False, False]


def test_a_nonsense_parent_is_no_parent() -> None:
    replica = build("run", {1: singles(1, 2)}, [marker(1, branch(1, 1))])

    assert [p.orphaned for p in replica.points] == [False, False]


def test_only_ltx_files_of_the_folder_count() -> None:
    inside = "p/run/e0001/0000/0000000000000002-0000000000000003.ltx"
    info = ObjectInfo(key=inside, size=7, modified_ms=5, etag="x")

    found = ltx_file(info, epoch=1, folder="p/run/e0001/")

    assert found is not None
    assert (found.level, found.min_txid, found.max_txid, found.size) == (0, 2, 3, 7)
    assert ltx_file(info, epoch=1, folder="p/run/") is None
