# ruff: noqa: E501 - tables are read by their columns
"""What objects cost, and whether those that say the same say it alike."""

from __future__ import annotations

import pytest

from obelisk_ops.errors import InvalidInput
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.replica.catalogue import EpochHistory, LtxFile, build
from obelisk_ops.replica.line import judge
from obelisk_ops.restore.verify.damage import cost_of
from obelisk_ops.restore.verify.levels import Levels
from obelisk_ops.restore.verify.parts import parse_part
from obelisk_ops.restore.verify.proof import Proven


def file(level: int, first: int, last: int) -> LtxFile:
    return LtxFile(
        epoch=1, level=level, min_txid=first, max_txid=last, key=f"{level}/{first}-{last}",
        size=10, modified_ms=last,
    )  # fmt: skip


def history(*files: LtxFile) -> EpochHistory:
    return build("run", {1: files}, []).epochs[0]


SINGLE = [file(0, n, n) for n in range(1, 9)]

COSTS = [
    # what is there                          what is bad        lost              come back
    (SINGLE,                                 file(0, 3, 3),     [(3, 8)],         0),
    ([*SINGLE, file(9, 1, 5)],               file(0, 3, 3),     [(3, 4)],         0),
    ([*SINGLE, file(9, 1, 5)],               file(9, 1, 5),     [(5, 8)],         4),
    ([*SINGLE, file(1, 1, 4)],               file(0, 2, 2),     [(2, 3)],         0),
    ([*SINGLE, file(1, 1, 4)],               file(1, 1, 4),     [(4, 8)],         5),
    ([*SINGLE, file(9, 1, 8)],               file(0, 8, 8),     [],               0),
]  # fmt: skip


@pytest.mark.parametrize(("files", "bad", "lost", "regained"), COSTS)
def test_what_a_bad_object_costs(
    files: list[LtxFile], bad: LtxFile, lost: list[tuple[int, int]], regained: int
) -> None:
    cost = cost_of(history(*files), [bad], {bad})

    assert [(span.first.txid, span.last.txid) for span in cost.lost] == lost
    assert cost.points == sum(last - first + 1 for first, last in lost)
    assert cost.regained == regained


def proven(at: LtxFile, pages: dict[int, int], *, commit: int = 9, time: int = 7) -> Proven:
    header = Header(
        page_size=1024, commit=commit, min_txid=at.min_txid, max_txid=at.max_txid,
        timestamp_ms=time,
    )  # fmt: skip
    return Proven(file=at, header=header, pages=pages)


BASE = proven(file(0, 1, 1), {1: 10, 2: 20, 3: 30})
MORE = proven(file(0, 2, 2), {2: 21})

LEVELS = [
    # what                           objects behind BASE and MORE                        wrong
    ("made of both",                 [proven(file(1, 1, 2), {1: 10, 2: 21, 3: 30})],     None),
    ("an older page",                [proven(file(1, 1, 2), {1: 10, 2: 20, 3: 30})],     "page 2"),
    ("a page is missing",            [proven(file(1, 1, 2), {1: 10, 2: 21})],            "page 3"),
    ("of another time",              [proven(file(1, 1, 2), {1: 10, 2: 21, 3: 30}, time=8)], "times"),
    ("cut to its size",              [proven(file(1, 1, 2), {1: 10, 2: 21}, commit=2)],  None),
    ("a snapshot",                   [proven(file(9, 1, 2), {1: 10, 2: 21, 3: 30})],     None),
    ("another snapshot",             [proven(file(9, 1, 2), {1: 10, 2: 21, 3: 31})],     "page 3"),
    ("a snapshot passed over",       [proven(file(9, 1, 3), {1: 10, 2: 22, 3: 30}), proven(file(1, 3, 4), {2: 23})], None),
    ("another one passed over",      [proven(file(9, 1, 3), {1: 11, 2: 22, 3: 30}), proven(file(1, 3, 4), {2: 23})], "page 1"),
    ("behind a gap",                 [proven(file(9, 1, 5), {1: 1}), proven(file(0, 6, 6), {2: 2})], None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "why"), [c[1:] for c in LEVELS], ids=[c[0] for c in LEVELS]
)
def test_what_says_the_same_says_it_alike(objects: list[Proven], why: str | None) -> None:
    levels = Levels()

    found = [one for each in (BASE, MORE, *objects) for one in levels.add(each)]

    assert len(found) == (why is not None)
    assert why is None or why in found[0].why


def read(txid: int, offset: int, size: int, salt: int) -> tuple[LtxFile, Header]:
    header = Header(
        page_size=1024, commit=9, min_txid=txid, max_txid=txid, timestamp_ms=txid,
        wal_offset=offset, wal_size=size, salts=(salt, salt),
    )  # fmt: skip
    return file(0, txid, txid), header


LINES = [
    # what                      files                                                          strangers
    ("one line",                [read(1, 32, 8, 1), read(2, 40, 8, 1), read(3, 48, 8, 1)],    set()),
    ("one in the middle",       [read(1, 32, 8, 1), read(2, 40, 8, 9), read(3, 48, 8, 1)],    {2}),
    ("the last",                [read(1, 32, 8, 1), read(2, 40, 8, 1), read(3, 48, 8, 9)],    {3}),
    ("the first",               [read(1, 32, 8, 9), read(2, 40, 8, 1), read(3, 48, 8, 1)],    {1}),
    ("either of two",           [read(1, 32, 8, 9), read(2, 40, 8, 1)],                       {1, 2}),
    ("a log that begins anew",  [read(1, 32, 8, 1), read(2, 32, 8, 2), read(3, 40, 8, 2)],    set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "strangers"), [c[1:] for c in LINES], ids=[c[0] for c in LINES]
)
def test_who_does_not_fit_the_line(
    files: list[tuple[LtxFile, Header]], strangers: set[int]
) -> None:
    assert {found.max_txid for found in judge(files).strangers} == strangers


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "x/y", "1/0", "1/3/5", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no part"):
        parse_part(text)


def test_each_object_is_in_one_part() -> None:
    parts = [parse_part(f"{n}/5") for n in range(1, 6)]

    for key in (f"run/e0001/0000/{n:016x}.ltx" for n in range(200)):
        assert sum(part.holds(key) for part in parts) == 1
