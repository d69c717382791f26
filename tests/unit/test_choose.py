# ruff: noqa: E501 - tables are read by their columns
"""Every wish, and the point or the refusal that it gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.core.when import At, Latest, Txid, When
from obelisk_ops.errors import DamagedObject, OpsError, ReplicaGap, RestorePointNotFound
from obelisk_ops.replica.branches import ends_behind
from obelisk_ops.replica.catalogue import LtxFile, Point, Replica, build
from obelisk_ops.replica.epochs import EpochMarker, Parent
from obelisk_ops.restore.choose import choose, left_behind

#: transaction n of epoch e was captured e * 1000 + n seconds after the beginning of time
NOW = 9_000_000


def file(epoch: int, level: int, first: int, last: int) -> LtxFile:
    return LtxFile(
        epoch=epoch, level=level, min_txid=first, max_txid=last, size=200,
        key=f"{epoch}/{level}/{first}-{last}", modified_ms=0,
    )  # fmt: skip


def singles(epoch: int, *txids: int) -> list[LtxFile]:
    return [file(epoch, 0, txid, txid) for txid in txids]


def marker(epoch: int, branched_at: int | None) -> EpochMarker:
    parent = Parent(epoch=epoch - 1, txid=branched_at) if epoch > 1 else None
    return EpochMarker(
        epoch=epoch, parent=parent, database_id=None, host="h", inode=1,
        opened_at_ms=0, owner="o",
    )  # fmt: skip


def moment(epoch: int, txid: int) -> int:
    return (epoch * 1000 + txid) * 1000


def at_of(point: Point) -> int:
    return moment(point.epoch, point.txid)


PLAIN = build("run", {1: singles(1, 1, 2, 3, 4)}, [])
COMPACTED = build("run", {1: [file(1, 9, 1, 3), file(1, 1, 4, 6), *singles(1, 7)]}, [])
HOLED = build("run", {1: [*singles(1, 1, 2, 5, 6), file(1, 9, 1, 8), *singles(1, 9)]}, [])
TAILLESS = build("run", {1: singles(1, 1, 2, 5)}, [])
BRANCHED = build(
    "run", {1: singles(1, 1, 2, 3, 4), 2: singles(2, 1, 2)}, [marker(1, None), marker(2, 2)]
)
HOLE_ABANDONED = build(
    "run", {1: singles(1, 1, 2, 5), 2: singles(2, 1)}, [marker(1, None), marker(2, 2)]
)
HOLE_BEFORE_BRANCH = build(
    "run", {1: singles(1, 1, 5), 2: singles(2, 1)}, [marker(1, None), marker(2, 5)]
)
HEADLESS = build(
    "run", {1: singles(1, 1, 2), 2: singles(2, 2, 3)}, [marker(1, None), marker(2, 2)]
)
OPENED = build("run", {1: singles(1, 1, 2, 3)}, [marker(1, None), marker(2, 2)])
EMPTY = build("run", {}, [marker(1, None)])
LOST = build("run", {1: singles(1, 3, 4)}, [marker(1, None)])

CHOSEN = [
    # what                                  replica     wish                     point
    ("latest",                              PLAIN,      Latest(),                (1, 4)),
    ("now, of an idle database",            PLAIN,      At(NOW),                 (1, 4)),
    ("later than all, not in the future",   PLAIN,      At(moment(1, 9)),        (1, 4)),
    ("exactly a point",                     PLAIN,      At(moment(1, 3)),        (1, 3)),
    ("exactly the oldest",                  PLAIN,      At(moment(1, 1)),        (1, 1)),
    ("just before a point",                 PLAIN,      At(moment(1, 3) - 1),    (1, 2)),
    ("a transaction",                       PLAIN,      Txid(2),                 (1, 2)),
    ("its epoch named",                     PLAIN,      Txid(2, 1),              (1, 2)),
    ("inside a compaction, by time",        COMPACTED,  At(moment(1, 5)),        (1, 3)),
    ("before the gap",                      HOLED,      At(moment(1, 2)),        (1, 2)),
    ("behind the gap",                      HOLED,      At(moment(1, 8)),        (1, 8)),
    ("newest behind a healed gap",          HOLED,      Latest(),                (1, 9)),
    ("transaction before the gap",          HOLED,      Txid(2),                 (1, 2)),
    ("exactly before the gap at the end",   TAILLESS,   At(moment(1, 2)),        (1, 2)),
    ("newest of two epochs",                BRANCHED,   Latest(),                (2, 2)),
    ("in the first epoch, by time",         BRANCHED,   At(moment(1, 2)),        (1, 2)),
    ("abandoned part, by time",             BRANCHED,   At(moment(1, 4)),        (1, 2)),
    ("abandoned part, named",               BRANCHED,   Txid(4, 1),              (1, 4)),
    ("transaction of the current epoch",    BRANCHED,   Txid(1),                 (2, 1)),
    ("gap in the abandoned part",           HOLE_ABANDONED, At(moment(1, 5)),    (1, 2)),
    ("opened, nothing shipped yet",         OPENED,     Latest(),                (1, 2)),
    ("opened, by transaction",              OPENED,     Txid(1),                 (1, 1)),
]  # fmt: skip

REFUSED = [
    # what                                  replica     wish                    error                  says or hints
    ("the future",                          PLAIN,      At(NOW + 1),            RestorePointNotFound,  "e0001/txid:4"),
    ("before the oldest",                   PLAIN,      At(moment(1, 1) - 1),   RestorePointNotFound,  "the oldest is e0001/txid:1"),
    ("a transaction that is not there yet", PLAIN,      Txid(5),                RestorePointNotFound,  "before it: e0001/txid:4"),
    ("transaction zero",                    PLAIN,      Txid(0),                RestorePointNotFound,  "after it: e0001/txid:1"),
    ("no such epoch",                       PLAIN,      Txid(1, 7),             RestorePointNotFound,  "e0001/txid:4"),
    ("compacted away",                      COMPACTED,  Txid(5),                RestorePointNotFound,  "compacted"),
    ("pruned away",                         COMPACTED,  Txid(2),                RestorePointNotFound,  "before the oldest"),
    ("time in the gap",                     HOLED,      At(moment(1, 4)),       ReplicaGap,            "after it: e0001/txid:8"),
    ("missing transaction",                 HOLED,      Txid(4),                ReplicaGap,            "before it: e0001/txid:2"),
    ("stranded behind the gap",             HOLED,      Txid(6),                ReplicaGap,            "3 to 4 of epoch 1"),
    ("latest, gap at the end",              TAILLESS,   Latest(),               ReplicaGap,            "before it: e0001/txid:2"),
    ("now, gap at the end",                 TAILLESS,   At(NOW),                ReplicaGap,            "3 to 4"),
    ("stranded at the end",                 TAILLESS,   Txid(5),                ReplicaGap,            "3 to 4"),
    ("beyond the stranded",                 TAILLESS,   Txid(6),                RestorePointNotFound,  "before it"),
    ("gap before the branch",               HOLE_BEFORE_BRANCH, At(moment(1, 5)), ReplicaGap,          "2 to 4"),
    ("the new epoch lost its beginning",    HEADLESS,   Latest(),               ReplicaGap,            "1 to 1 of epoch 2"),
    ("nothing was shipped",                 EMPTY,      Latest(),               RestorePointNotFound,  "supervise"),
    ("nothing was shipped, by time",        EMPTY,      At(1),                  RestorePointNotFound,  "supervise"),
    ("nothing was shipped, future",         EMPTY,      At(NOW + 1),            RestorePointNotFound,  "supervise"),
    ("nothing is reachable",                LOST,       Latest(),               ReplicaGap,            "1 to 2"),
    ("nothing is reachable, transaction",   LOST,       Txid(4),                ReplicaGap,            "1 to 2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("replica", "wish", "point"),
    [case[1:] for case in CHOSEN],
    ids=[case[0] for case in CHOSEN],
)
def test_chooses(replica: Replica, wish: When, point: tuple[int, int]) -> None:
    chosen = choose(replica, wish, now_ms=NOW, at_of=at_of)

    assert (chosen.epoch, chosen.txid) == point


@pytest.mark.parametrize(
    ("replica", "wish", "error", "says"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refuses(replica: Replica, wish: When, error: type[OpsError], says: str) -> None:
    with pytest.raises(error) as refusal:
        choose(replica, wish, now_ms=NOW, at_of=at_of)

    assert type(refusal.value) is error
    assert says in f"{refusal.value.message} | {refusal.value.hint}"


@given(st.sets(st.integers(1, 30), min_size=1), st.integers(0, 40), st.lists(st.integers(0, 9)))
def test_by_time_never_gets_later_nor_needlessly_older(
    present: set[int], asked: int, steps: Sequence[int]
) -> None:
    """With no hole, the point is the newest one that is not after the moment."""
    last = max(present)
    replica = build("run", {1: singles(1, *range(1, last + 1))}, [])
    times = {txid: txid * 10 + sum(steps[:txid]) for txid in range(1, last + 1)}

    def time_of(point: Point) -> int:
        return times[point.txid]

    expected = [txid for txid, at in times.items() if at <= asked * 10]
    if not expected:
        with pytest.raises(RestorePointNotFound):
            choose(replica, At(asked * 10), now_ms=NOW, at_of=time_of)
        return
    assert choose(replica, At(asked * 10), now_ms=NOW, at_of=time_of).txid == max(expected)


def unreadable(*txids: int) -> Callable[[Point], int]:
    def time_of(point: Point) -> int:
        if point.txid in txids:
            raise DamagedObject(f"txid {point.txid}")
        return at_of(point)

    return time_of


@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
@pytest.mark.parametrize("damaged", [1, 2, 3, 4])
def test_a_damaged_header_hides_its_own_point_alone(damaged: int, wanted: int) -> None:
    time_of = unreadable(damaged)

    if wanted == damaged:
        with pytest.raises(DamagedObject):
            choose(PLAIN, At(moment(1, wanted)), now_ms=NOW, at_of=time_of)
    else:
        assert choose(PLAIN, At(moment(1, wanted)), now_ms=NOW, at_of=time_of).txid == wanted


def test_damage_does_not_spoil_the_answer() -> None:
    with pytest.raises(DamagedObject):
        choose(PLAIN, At(moment(1, 1)), now_ms=NOW, at_of=unreadable(1, 2, 3, 4))
    with pytest.raises(RestorePointNotFound, match="before the oldest"):
        choose(PLAIN, At(0), now_ms=NOW, at_of=unreadable(3))
    with pytest.raises(RestorePointNotFound) as refusal:
        choose(PLAIN, At(NOW + 1), now_ms=NOW, at_of=unreadable(4))
    assert "e0001/txid:4" in refusal.value.hint


def test_only_few_times_are_looked_at() -> None:
    looked_at = []
    replica = build("run", {1: singles(1, *range(1, 1001))}, [])

    def counted(point: Point) -> int:
        looked_at.append(point.txid)
        return at_of(point)

    choose(replica, At(moment(1, 700)), now_ms=NOW, at_of=counted)

    assert len(looked_at) <= 12


#: A takeover went on from txid 2 of epoch 1; in epoch 3 from the end of epoch 1 again.
FORKED = build(
    "run",
    {1: singles(1, 1, 2, 3, 4), 2: singles(2, 1, 2), 3: singles(3, 1)},
    [
        marker(1, None), marker(2, 2),
        dataclasses.replace(marker(3, None), parent=Parent(epoch=1, txid=4)),
    ],
)  # fmt: skip

LEFT_BEHIND = [
    # what                                   replica    moment                left behind
    ("nothing was",                          PLAIN,     moment(1, 3),         None),
    ("before the branch",                    BRANCHED,  moment(1, 2),         None),
    ("just behind it",                       BRANCHED,  moment(1, 3),         (1, 3)),
    ("between two of them",                  BRANCHED,  moment(1, 4) - 1,     (1, 3)),
    ("long after it",                        BRANCHED,  moment(2, 1) - 1,     (1, 4)),
    ("the history has gone on",              BRANCHED,  moment(2, 1),         None),
    ("nothing of the next epoch is there",   OPENED,    NOW,                  (1, 3)),
    ("an epoch that was left as a whole",    FORKED,    moment(2, 2),         (2, 2)),
    ("before that epoch",                    FORKED,    moment(1, 4),         None),
    ("the history has gone on behind it",    FORKED,    moment(3, 1),         None),
]  # fmt: skip


@pytest.mark.parametrize(("replica", "at_ms", "expected"), [
    pytest.param(*case[1:], id=case[0]) for case in LEFT_BEHIND
])  # fmt: skip
def test_what_the_history_has_left_behind_by_a_moment(
    replica: Replica, at_ms: int, expected: tuple[int, int] | None
) -> None:
    chosen = choose(replica, At(at_ms), now_ms=NOW, at_of=at_of)
    found = left_behind(replica, chosen, at_ms=at_ms, at_of=at_of)

    assert (found and (found.epoch, found.txid)) == expected


ENDS = [
    # what                                  replica    from     ends
    ("of one line",                         PLAIN,     (1, 2),  [(1, 4)]),
    ("from the end",                        PLAIN,     (1, 4),  []),
    ("from before a branch",                BRANCHED,  (1, 2),  [(1, 4), (2, 2)]),
    ("from what was left behind",           BRANCHED,  (1, 3),  [(1, 4)]),
    ("from the line that goes on",          BRANCHED,  (2, 1),  [(2, 2)]),
    ("an end that another goes on from",    FORKED,    (1, 3),  [(3, 1)]),
    ("of three lines",                      FORKED,    (1, 1),  [(2, 2), (3, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("replica", "start", "ends"), [
    pytest.param(*case[1:], id=case[0]) for case in ENDS
])  # fmt: skip
def test_where_lines_end_that_go_on_from_a_point(
    replica: Replica, start: tuple[int, int], ends: list[tuple[int, int]]
) -> None:
    (point,) = (p for p in replica.points if (p.epoch, p.txid) == start)

    assert [(end.epoch, end.txid) for end in ends_behind(replica, point)] == ends
