"""Every verdict, as a table. The base case is a database that is proven to be safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from obelisk_ops.supervise.health import (
    Observations,
    Problem,
    exit_status,
    judge,
    words_for_ms,
)
from obelisk_ops.supervise.notices import Surroundings
from obelisk_ops.supervise.status import Row, fleet_exit, trouble

NOW = 1_000_000
SAFE = Observations(
    since_ms=0,
    sync_interval_ms=1_000,
    local_txid=5,
    replica_txid=5,
    tail_bytes=0,
    tail_commits=0,
    proven_ms=NOW - 1_000,
)
REFUSED = Problem(
    code="s3_unavailable",
    text="S3 does not answer",
    since_ms=NOW - 12_000,
    why="connection refused",
)
NO_RENEWAL = replace(REFUSED, text="the lease cannot be renewed", why="SlowDown")
HICCUP = replace(REFUSED, since_ms=NOW - 1_999)
KEYS = Problem(
    code="credentials", text="the credentials are not accepted", since_ms=NOW - 3_000
)
NO_BUCKET = Problem(code="bucket_missing", text="there is no bucket 'b'", since_ms=NOW - 3_000)
OTHER = Problem(code="fenced", text="epoch 2 was opened by host-b", since_ms=NOW)
CRASH = Problem(code="litestream", text="Litestream ended with status 1", since_ms=NOW)
DOUBT = Problem(code="verification_failed", text="it may differ", since_ms=NOW)
INTRUDER = Problem(
    code="second_writer", text="another program writes into e0001", since_ms=NOW - 1_000,
    why="a file is not ours",
)  # fmt: skip
UNLISTED = Problem(
    code="verification_failed", text="transaction 4 is not listed any more",
    since_ms=NOW - 1_000,
)  # fmt: skip
LATE: dict[str, Any] = {"local_txid": 8, "oldest_unsent_ms": NOW - 3_001}
SET_BACK: dict[str, Any] = {"local_txid": 1, "replica_txid": 7}
AHEAD = "the bucket is ahead of this disk (7, here 1): the file was set back"
SENT_SOON: dict[str, Any] = {"local_txid": 8, "oldest_unsent_ms": NOW - 3_000}


@pytest.mark.parametrize(
    ("seen", "state", "reason", "detail"),
    [
        pytest.param({}, "ok", "", "", id="proven"),
        pytest.param(SENT_SOON, "ok", "", "", id="unsent, but young"),
        pytest.param({"proven_ms": NOW - 15_000}, "ok", "", "", id="proven just lately enough"),
        pytest.param(
            {"proven_ms": NOW - 15_001}, "unknown", "", "the bucket was last read 15 s ago",
            id="the proof is too old",
        ),
        pytest.param(
            LATE, "lagging", "", "a change of 3.0 s ago is not in the bucket", id="too late"
        ),
        pytest.param(
            LATE | {"words": "disk full"}, "lagging", "",
            "a change of 3.0 s ago is not in the bucket; Litestream says: disk full",
            id="too late, and Litestream knows why",
        ),
        pytest.param(
            {"local_txid": None, "since_ms": NOW, "waiting": "the file is empty"},
            "starting", "", "the file is empty", id="an empty file",
        ),
        pytest.param(
            LATE | {"around": Surroundings(waiting=1 << 20, rate=98_304)}, "lagging", "",
            "a change of 3.0 s ago is not in the bucket: 1.0 MiB wait, 96 KiB a second arrive",
            id="too late, on a slow line",
        ),
        pytest.param(
            LATE | {"around": Surroundings(disk_free=0)}, "lagging", "storage_unavailable",
            "a change of 3.0 s ago is not in the bucket: the disk is full", id="a full disk",
        ),
        pytest.param(
            {"around": Surroundings(disk_free=0)}, "ok", "", "", id="a full disk, all sent"
        ),
        pytest.param(
            {"missing": UNLISTED}, "unknown", "verification_failed",
            "transaction 4 is not listed any more since 1.0 s", id="a short listing",
        ),
        pytest.param(
            {"missing": replace(UNLISTED, code="lost_objects")} | LATE, "lagging",
            "lost_objects", "transaction 4 is not listed any more since 1.0 s", id="lost",
        ),
        pytest.param(
            {"intruder": INTRUDER, "doubt": UNLISTED} | LATE, "fatal", "second_writer",
            "another program writes into e0001 since 1.0 s: a file is not ours",
            id="somebody else writes",
        ),
        pytest.param({"bucket": HICCUP}, "ok", "", "", id="one failure is a hiccup"),
        pytest.param(
            {"right": replace(NO_RENEWAL, since_ms=NOW - 1_999)}, "ok", "", "",
            id="one renewal that failed is a hiccup",
        ),
        pytest.param(
            {"right": NO_RENEWAL, "bucket": HICCUP, "may_write": False}, "unknown",
            "s3_unavailable", "the lease cannot be renewed since 12 s: SlowDown",
            id="no renewal lasts, and of the bucket only the last request failed",
        ),
        pytest.param(
            {"right": NO_RENEWAL} | LATE, "lagging", "s3_unavailable",
            "the lease cannot be renewed since 12 s: SlowDown", id="no renewal, and it writes",
        ),
        pytest.param(
            {"right": NO_RENEWAL, "bucket": REFUSED}, "unknown", "s3_unavailable",
            "S3 does not answer since 12 s: connection refused", id="no renewal: no S3",
        ),
        pytest.param(
            {"right": KEYS}, "fatal", "credentials",
            "the credentials are not accepted since 3.0 s", id="no renewal without credentials",
        ),
        pytest.param(
            {"may_write": False}, "unknown", "unavailable",
            "the lease of this supervisor has run out", id="no right, and nobody knows why",
        ),
        pytest.param({"idle_ms": NOW - 10_000}, "ok", "", "", id="it is being started anew"),
        pytest.param(
            {"idle_ms": NOW - 10_001}, "unknown", "", "no Litestream runs for it since 10 s",
            id="all is sent, and what comes next would not be",
        ),
        pytest.param(
            {"idle_ms": NOW, "may_write": False, "local_txid": None, "since_ms": NOW},
            "starting", "", "Litestream has not read the file yet", id="no lease yet",
        ),
        pytest.param(
            {"bucket": REFUSED}, "unknown", "s3_unavailable",
            "S3 does not answer since 12 s: connection refused", id="S3 is down, all sent",
        ),
        pytest.param(
            {"bucket": REFUSED} | LATE, "lagging", "s3_unavailable",
            "S3 does not answer since 12 s: connection refused", id="S3 is down, it writes",
        ),
        pytest.param(
            {"bucket": KEYS}, "fatal", "credentials",
            "the credentials are not accepted since 3.0 s", id="wrong credentials",
        ),
        pytest.param(
            {"own": KEYS} | LATE, "fatal", "credentials",
            "the credentials are not accepted since 3.0 s", id="may read, may not write",
        ),
        pytest.param(
            {"bucket": NO_BUCKET}, "fatal", "bucket_missing",
            "there is no bucket 'b' since 3.0 s", id="no bucket",
        ),
        pytest.param(
            {"refusal": OTHER, "bucket": KEYS}, "fenced", "fenced",
            "epoch 2 was opened by host-b", id="fenced, whatever else",
        ),
        pytest.param(
            {"crash": CRASH}, "backoff", "litestream",
            "Litestream ended with status 1", id="ended unasked",
        ),
        pytest.param(
            {"crash": CRASH, "is_fatal": True}, "fatal", "litestream",
            "Litestream ended with status 1", id="ended too often",
        ),
        pytest.param(
            {"has_file": False, "was_there": False}, "starting", "database_not_found",
            "waiting for the file", id="no file yet",
        ),
        pytest.param(
            {"has_file": False}, "stopped", "database_not_found", "the file is gone",
            id="no file any more",
        ),
        pytest.param(
            {"local_txid": None, "since_ms": NOW - 29_999}, "starting", "",
            "Litestream has not read the file yet", id="just started",
        ),
        pytest.param(
            {"local_txid": 0, "since_ms": NOW - 30_000}, "unknown", "",
            "Litestream has not read the file yet, since 30 s", id="does not start",
        ),
        pytest.param(
            {"replica_txid": None, "proven_ms": None, "since_ms": NOW}, "starting", "",
            "the bucket has not been read yet", id="not yet listed",
        ),
        pytest.param(
            {"tail_bytes": None, "tail_commits": None}, "unknown", "",
            "the write-ahead log cannot be read, since 16 min", id="no write-ahead log",
        ),
        pytest.param(SET_BACK, "unknown", "verification_failed", AHEAD, id="set back"),
        pytest.param(
            {"doubt": DOUBT}, "unknown", "verification_failed",
            "it may differ since 0.0 s", id="everything is there, and not to be trusted",
        ),
        pytest.param(
            LATE | {"doubt": DOUBT, "bucket": REFUSED}, "unknown", "verification_failed",
            "it may differ since 0.0 s; S3 does not answer since 12 s: connection refused",
            id="in doubt, and no bucket for a new epoch",
        ),
        pytest.param(
            SET_BACK | {"tail_bytes": 4_096, "tail_commits": 6}, "unknown",
            "verification_failed", AHEAD, id="set back, and it writes",
        ),
        pytest.param(
            SET_BACK | {"tail_bytes": None, "tail_commits": None, "since_ms": NOW}, "unknown",
            "verification_failed", AHEAD, id="set back, no write-ahead log",
        ),
        pytest.param(
            SET_BACK | {"oldest_unsent_ms": NOW - 3_001}, "unknown", "verification_failed",
            AHEAD, id="set back is more than late",
        ),
        pytest.param(
            SET_BACK | {"crash": CRASH}, "backoff", "litestream",
            "Litestream ended with status 1", id="set back, and ended unasked",
        ),
        pytest.param(
            SET_BACK | {"local_txid": 0, "tail_bytes": None, "since_ms": NOW}, "starting", "",
            "Litestream has not read the file yet", id="only just started again",
        ),
    ],
)  # fmt: skip
def test_verdict(seen: dict[str, Any], state: str, reason: str, detail: str) -> None:
    health = judge(replace(SAFE, **seen), now_ms=NOW)

    assert (health.state, health.reason, health.detail) == (state, reason, detail)


@pytest.mark.parametrize(
    ("seen", "rpo_seconds", "transactions", "size"),
    [
        pytest.param({}, 0.0, 0, 0, id="nothing unsent"),
        pytest.param(
            {"oldest_unsent_ms": NOW - 2_500, "local_txid": 7}, 2.5, 2, 0, id="two transactions"
        ),
        pytest.param(
            {"oldest_unsent_ms": NOW - 500, "tail_bytes": 8_192, "tail_commits": 2},
            0.5, 2, 8_192, id="committed, not yet in a file",
        ),
        pytest.param({"replica_txid": None, "proven_ms": None}, None, None, 0, id="not listed"),
        pytest.param(
            {"tail_bytes": None, "tail_commits": None}, None, None, None, id="no WAL"
        ),
        pytest.param({"local_txid": None}, None, None, 0, id="no local position"),
        pytest.param(
            {"local_txid": 4}, None, None, 0, id="more in the bucket than here says nothing"
        ),
        pytest.param(
            SET_BACK | {"tail_bytes": 8_192, "tail_commits": 2}, None, None, 8_192,
            id="what is written behind that is not known to be anywhere else",
        ),
    ],
)  # fmt: skip
def test_figures_are_null_when_not_known(
    seen: dict[str, Any], rpo_seconds: float | None, transactions: int | None, size: int | None
) -> None:
    health = judge(replace(SAFE, **seen), now_ms=NOW)

    assert health.rpo_seconds == rpo_seconds
    assert health.unsent_transactions == transactions
    assert health.unsent_bytes == size


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([], 0),
        ([("ok", "")], 0),
        ([("ok", ""), ("lagging", "")], 5),
        ([("lagging", ""), ("unknown", "")], 4),
        ([("lagging", "s3_unavailable")], 6),
        ([("lagging", "s3_unavailable"), ("fatal", "credentials")], 11),
        ([("fatal", "bucket_missing")], 6),
        ([("fatal", "litestream"), ("backoff", "litestream")], 5),
        ([("fatal", "")], 1),
        ([("fenced", "fenced"), ("fatal", "credentials")], 9),
        ([("fenced", "database_locked")], 9),
        ([("fatal", "corrupt_database"), ("unknown", "")], 10),
        ([("starting", "")], 4),
        ([("stopped", "")], 4),
        ([("ok", ""), ("unknown", "verification_failed")], 10),
        ([("backoff", "")], 5),
        ([("unknown", "clock"), ("fatal", "corrupt_database")], 12),
    ],
)
def test_a_fleet_exits_with_the_first_in_the_contracts_order(
    verdicts: list[tuple[str, str]], status: int
) -> None:
    assert exit_status(verdicts) == status


@pytest.mark.parametrize(
    ("states", "error"),
    [
        ([("ok", "", "")], None),
        ([], ("unknown", "no supervisor runs")),
        ([("ok", "", ""), ("stopped", "", "no supervisor runs")],
         ("unknown", "b: no supervisor runs")),
        ([("unknown", "", "?"), ("fatal", "corrupt_database", "damaged"),
          ("fatal", "corrupt_database", "damaged too"), ("lagging", "", "late")],
         ("verification_failed", "b: damaged (1 other database too)")),
        ([("lagging", "", "")], ("degraded", "a: it is lagging")),
    ],
)  # fmt: skip
def test_the_first_database_that_is_why_is_named(
    states: list[tuple[str, str, str]], error: tuple[str, str] | None
) -> None:
    rows = [
        Row(name=name, path=f"/{name}.db", state=state, reason=reason, detail=detail)
        for name, (state, reason, detail) in zip("abcd", states, strict=False)
    ]
    status = fleet_exit(rows) if rows else 4

    found = trouble(rows, status)

    assert (found and (found.code, found.message)) == error
    assert (found.exit_status if found else 0) == status


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [(0, "0.0 s"), (9_949, "9.9 s"), (12_400, "12 s"), (119_999, "119 s"), (120_000, "2 min"),
     (7_199_999, "119 min"), (7_200_000, "2 h"), (172_800_000, "2 d")],
)  # fmt: skip
def test_times_are_written_as_a_person_says_them(duration_ms: int, words: str) -> None:
    assert words_for_ms(duration_ms) == words
