"""The decisions of drills: which points, what an error means, when, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from obelisk_ops import errors
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.replica.catalogue import LtxFile, Replica, build
from obelisk_ops.replica.line import breaks
from obelisk_ops.restore.drill.result import Drilled, Outcome, Tried, outcome_of, worst
from obelisk_ops.restore.drill.trials import choose_trials
from obelisk_ops.supervise.drillbook import Drillbook
from obelisk_ops.supervise.drilling import Standing, due_ms, next_to_drill

HOUR = 3_600_000
DAY = 24 * HOUR


def file(level: int, first: int, last: int) -> LtxFile:
    return LtxFile(
        epoch=1, level=level, min_txid=first, max_txid=last, key=f"{level}/{first}-{last}",
        size=10, modified_ms=last,
    )  # fmt: skip


def replica(*files: LtxFile) -> Replica:
    return build("run", {1: files}, [])


#: a snapshot, files of level 1 before and behind it, single ones at the end
MIXED = replica(
    file(9, 1, 10), *(file(1, n, n + 4) for n in (1, 6, 11)), *(file(0, n, n) for n in (16, 17))
)


@pytest.mark.parametrize("seed", range(20))
def test_a_drill_reads_every_level_and_the_newest_point(seed: int) -> None:
    newest = MIXED.lineage[-1]

    trials = choose_trials(MIXED, newest, Random(seed))

    assert trials[0].point == newest
    assert {level for trial in trials for level in trial.levels} == {0, 1, 9}
    assert len({trial.why for trial in trials}) == len(trials)
    assert all(trial.files[-1].max_txid == trial.point.txid for trial in trials)


def test_a_level_that_no_walk_reads_gets_no_point() -> None:
    found = replica(file(1, 1, 5), file(0, 3, 3), file(0, 4, 4), file(0, 5, 5), file(9, 1, 5))

    whys = {
        trial.why
        for seed in range(30)
        for trial in choose_trials(found, found.lineage[-1], Random(seed))
    }

    assert "level 0" not in whys


def test_one_point_alone_is_one_trial() -> None:
    single = replica(file(0, 1, 1))

    [trial] = choose_trials(single, single.lineage[0], Random(1))

    assert trial.why == "latest"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.CorruptDatabase, Outcome.FAILED),
        (errors.DamagedObject, Outcome.FAILED),
        (errors.ReplicaGap, Outcome.FAILED),
        (errors.VerificationFailed, Outcome.FAILED),
        (errors.S3Unavailable, Outcome.INCONCLUSIVE),
        (errors.StorageUnavailable, Outcome.INCONCLUSIVE),
        (errors.CredentialsError, Outcome.INCONCLUSIVE),
        (errors.ObjectNotFound, Outcome.INCONCLUSIVE),
        (errors.RestorePointNotFound, Outcome.INCONCLUSIVE),
        (errors.ProgramMissing, Outcome.INCONCLUSIVE),
        (errors.Unproven, Outcome.INCONCLUSIVE),
        (errors.ClockError, Outcome.INCONCLUSIVE),
    ],
)
def test_what_an_error_says(error: type[errors.OpsError], outcome: Outcome) -> None:
    assert outcome_of(error("no")) is outcome


@pytest.mark.parametrize(
    ("outcomes", "all_of_them"),
    [
        ([], "ok"), (["ok"], "ok"), (["ok", "inconclusive"], "inconclusive"),
        (["inconclusive", "failed", "ok"], "failed"),
    ],
)  # fmt: skip
def test_the_worst_counts(outcomes: list[str], all_of_them: str) -> None:
    assert worst(Outcome(one) for one in outcomes) == all_of_them


def test_checks_are_told_over_all_restores() -> None:
    tried = [
        Tried(why="latest", epoch=1, txid=9, checks={"pages": "ok", "replay": "skipped: no"}),
        Tried(why="random", epoch=1, txid=3, checks={"pages": "failed: x", "replay": "ok"}),
    ]
    whole = Drilled(name="run", at_ms=1, seed=1, outcome=Outcome.FAILED, tried=tuple(tried))

    assert whole.checks == {"pages": "failed: x", "replay": "ok"}


# -- when ----------------------------------------------------------------------------------


def test_a_first_drill_comes_within_a_tenth_of_the_time() -> None:
    found = [due_ms(Standing(name=f"db{n}", seen_ms=0), DAY) for n in range(200)]

    assert all(0 <= due < DAY / 10 for due in found)
    assert len(set(found)) > 150, "not all at once"


def test_afterwards_it_comes_once_in_the_time_on_average() -> None:
    rests = [
        due_ms(Standing(name=f"db{n}", seen_ms=0, last_ms=DAY, outcome=Outcome.OK), DAY) - DAY
        for n in range(200)
    ]

    assert all(0.9 * DAY <= rest < DAY for rest in rests)


@pytest.mark.parametrize(
    ("every_ms", "sooner_ms"), [(DAY, HOUR), (HOUR, HOUR // 8), (30 * DAY, HOUR)]
)
def test_what_proved_nothing_is_tried_again_soon(every_ms: int, sooner_ms: int) -> None:
    again = Standing(name="a", seen_ms=0, last_ms=5, outcome=Outcome.INCONCLUSIVE)

    assert due_ms(again, every_ms) == 5 + sooner_ms


def test_who_has_waited_longest_is_next_and_who_is_not_well_waits() -> None:
    late = Standing(name="late", seen_ms=0, last_ms=0, outcome=Outcome.OK)
    later = replace(late, name="later", last_ms=HOUR)
    sick = replace(late, name="sick", is_well=False)

    assert next_to_drill([later, late, sick], DAY, 3 * DAY) == "late"
    assert next_to_drill([late, later], DAY, HOUR) is None
    assert next_to_drill([sick], DAY, 3 * DAY) is None


def test_a_note_of_the_future_does_not_stop_drills() -> None:
    wrong = Standing(name="a", seen_ms=0, last_ms=99 * DAY, outcome=Outcome.OK)

    assert next_to_drill([wrong], DAY, DAY) == "a"


# -- what is kept --------------------------------------------------------------------------


def of(outcome: Outcome, at_ms: int) -> Drilled:
    tried = Tried(why="latest", epoch=2, txid=at_ms, outcome=outcome)
    return Drilled(name="run", at_ms=at_ms, seed=1, outcome=outcome, tried=(tried,))


def test_the_last_good_drill_is_kept_besides_the_last(tmp_path: Path) -> None:
    book = Drillbook(tmp_path, "s3://bucket/p")
    for outcome, at_ms in ((Outcome.OK, 1), (Outcome.OK, 2), (Outcome.FAILED, 3)):
        book.note(of(outcome, at_ms))

    entry = Drillbook(tmp_path, "s3://bucket/p").entry("run")

    assert entry is not None
    assert (entry.last.at_ms, entry.last.outcome) == (3, Outcome.FAILED)
    assert entry.good is not None
    assert (entry.good.at_ms, entry.good.points) == (2, ("e0002/txid:2",))
    assert Drillbook(tmp_path, "s3://other/p").entry("run") is None, "another place"
    assert book.entry("other") is None


def test_a_book_that_cannot_be_read_is_an_empty_one(tmp_path: Path) -> None:
    book = Drillbook(tmp_path, "s3://bucket/p")
    book.note(of(Outcome.OK, 1))
    (tmp_path / "drills.json").write_text("{")

    assert book.entry("run") is None
    book.note(of(Outcome.OK, 2))
    assert book.entry("run") is not None


# -- the line of files ---------------------------------------------------------------------


def header(txid: int, offset: int, size: int, salts: tuple[int, int] = (1, 2)) -> Header:
    return Header(
        page_size=1024, commit=9, min_txid=txid, max_txid=txid, timestamp_ms=txid,
        wal_offset=offset, wal_size=size, salts=salts,
    )  # fmt: skip


LINES = [
    # what                          second header                        why
    ("goes on",                     header(2, 132, 50),                  ""),
    ("a log that begins anew",      header(2, 32, 50, (2, 9)),           ""),
    ("read again from the start",   header(2, 32, 50),                   ""),
    ("made of other files",         header(2, 0, 0, (0, 0)),             ""),
    ("the middle of another log",   header(2, 132, 50, (7, 7)),          "another write-ahead"),
    ("the same log elsewhere",      header(2, 300, 50),                  "on, not from 132"),
    ("another page size",           replace(header(2, 132, 50), page_size=4096), "4096 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("second", "why"), [c[1:] for c in LINES], ids=[c[0] for c in LINES])
def test_neighbours_of_one_line(second: Header, why: str) -> None:
    pairs = [(file(0, 1, 1), header(1, 32, 100)), (file(0, 2, 2), second)]

    found = list(breaks(pairs))

    assert len(found) == bool(why)
    assert all(why in one.why for one in found)


def test_compacted_files_say_nothing_of_their_neighbours() -> None:
    pairs = [(file(1, 1, 1), header(1, 32, 100)), (file(1, 2, 2), header(2, 900, 5, (8, 8)))]

    assert list(breaks(pairs)) == []
