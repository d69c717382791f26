"""
The metrics, by name. Once published a name is never changed.

Times are points in time, never ages: an age is wrong as soon as nobody measures it any
more. What is not known is left out, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "obelisk_ops_"


class Kind(StrEnum):
    """How a metric behaves."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric.

    Attributes:
        name: Without the prefix that all have; a counter's ends in _total.
        help: One sentence.
        labels: What tells its samples apart.
        kind: How it behaves.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = Kind.GAUGE

    @property
    def full_name(self) -> str:
        """As it is published."""
        return f"{PREFIX}{self.name}"


_DB = ("database",)

STATE = Metric(
    "database_state",
    "1 for the state the database is in, 0 for the others.",
    ("database", "state"),
)
RPO = Metric(
    "database_rpo_seconds",
    "Age of the oldest change that is not proven to be in the bucket, at the scrape.",
    _DB,
)
UNSENT = Metric(
    "database_unsent_transactions",
    "Transactions and commits that are not proven to be in the bucket.",
    _DB,
)
UNSENT_BYTES = Metric(
    "database_unsent_bytes", "Committed write-ahead log that is in no file to ship yet.", _DB
)
WAL = Metric("database_wal_bytes", "Size of the write-ahead log on this disk.", _DB)
LOCAL_TXID = Metric(
    "database_local_txid", "The last transaction in Litestream's own files.", _DB
)
REPLICA_TXID = Metric(
    "database_replica_txid", "The last transaction in the bucket, by our own listing.", _DB
)
EPOCH = Metric("database_epoch", "The epoch it is replicated in.", _DB)
PROOF = Metric(
    "database_proof_timestamp_seconds",
    "When the request began that the present state rests on.",
    _DB,
)
OLDEST = Metric(
    "database_restorable_oldest_timestamp_seconds",
    "The oldest moment that can be restored.",
    _DB,
)
NEWEST = Metric(
    "database_restorable_newest_timestamp_seconds",
    "The newest moment that can be restored.",
    _DB,
)
DRILL = Metric("database_drill_timestamp_seconds", "When the last restore drill began.", _DB)
DRILL_GOOD = Metric(
    "database_drill_good_timestamp_seconds",
    "When the last restore drill began that has proven the backup.",
    _DB,
)
DRILL_OUTCOME = Metric(
    "database_drill_outcome",
    "1 for the outcome of the last restore drill, 0 for the others.",
    ("database", "outcome"),
)
REQUESTS_PER_DAY = Metric(
    "database_requests_per_day",
    "Estimate of the requests it costs, from what it did lately.",
    _DB,
)

INFO = Metric("supervisor_info", "1; which versions run.", ("version", "litestream"))
STARTED = Metric("supervisor_start_timestamp_seconds", "When the supervisor began.")
DATABASES = Metric("supervisor_databases", "How many databases it looks after.")
BUCKET_UP = Metric("bucket_up", "1 if the bucket answers and accepts the credentials, else 0.")
BUCKET_ANSWER = Metric(
    "bucket_answer_timestamp_seconds", "When the request began that the bucket last answered."
)
LEASE = Metric(
    "lease_deadline_timestamp_seconds",
    "When the right to write ends if it is not renewed.",
)
SKEW = Metric(
    "clock_skew_seconds",
    "How far this machine's clock is ahead of the bucket's; 0 if they agree within a second.",
)
RETENTION = Metric(
    "retention_enabled",
    "1 if Litestream deletes what is old enough, 0 while the clocks differ, or just did.",
)
REQUESTS = Metric(
    "bucket_requests_total",
    "Requests of the supervisor itself, without Litestream's.",
    (),
    Kind.COUNTER,
)
STARTS = Metric(
    "litestream_starts_total", "Litestream processes that were started.", (), Kind.COUNTER
)
CRASHES = Metric(
    "litestream_crashes_total", "Litestream processes that ended unasked.", (), Kind.COUNTER
)
WARNINGS = Metric("warnings_total", "Warnings in the log, by event.", ("event",), Kind.COUNTER)

METRICS: tuple[Metric, ...] = (
    STATE, RPO, UNSENT, UNSENT_BYTES, WAL, LOCAL_TXID, REPLICA_TXID, EPOCH, PROOF, OLDEST,
    NEWEST, DRILL, DRILL_GOOD, DRILL_OUTCOME, REQUESTS_PER_DAY,
    INFO, STARTED, DATABASES, BUCKET_UP, BUCKET_ANSWER, LEASE, SKEW, RETENTION, REQUESTS,
    STARTS, CRASHES, WARNINGS,
)  # fmt: skip
