"""From what `status` knows to the text that Prometheus reads. Nothing is asked of anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from obelisk_ops.monitor import catalogue as named
from obelisk_ops.monitor.catalogue import Kind, Metric
from obelisk_ops.restore.drill.result import Outcome
from obelisk_ops.supervise.companion import Facts
from obelisk_ops.supervise.health import State
from obelisk_ops.supervise.status import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    Everything at one moment.

    Attributes:
        rows: The databases.
        facts: The supervisor.
        starts: How many Litestream processes were started.
        warnings: How often each warning was logged.
    """

    rows: Sequence[Row]
    facts: Facts
    starts: int = 0
    warnings: dict[str, int] = field(default_factory=dict)


Sample = tuple[Metric, tuple[str, ...], float | None]


def render(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """Return the text and its type, in the form that *accept* (the header) asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast("Collector", _Collector(snapshot)))
    encode, kind = exposition.choose_encoder(accept)
    return encode(registry), kind


class _Collector:
    """The collector of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        """Yield every metric that has a sample."""
        families: dict[Metric, Any] = {}
        for metric, labels, value in samples(self._snapshot):
            if value is not None:
                family = families.setdefault(metric, _family(metric))
                family.add_metric(labels, value)
        yield from families.values()


def samples(snapshot: Snapshot) -> Iterator[Sample]:
    """Yield every sample; None is "not known"."""
    for row in snapshot.rows:
        yield from _of_database(row)
    yield from _of_supervisor(snapshot)


def _of_database(row: Row) -> Iterator[Sample]:
    for state in State:
        yield named.STATE, (row.name, state.value), float(row.state == state)
    values: Iterable[tuple[Metric, float | None]] = (
        (named.RPO, row.rpo_seconds),
        (named.UNSENT, row.unsent_transactions),
        (named.UNSENT_BYTES, row.unsent_bytes),
        (named.WAL, _size(Path(f"{row.path}-wal"))),
        (named.LOCAL_TXID, row.local_txid),
        (named.REPLICA_TXID, row.replica_txid),
        (named.EPOCH, row.epoch),
        (named.PROOF, _seconds(row.proven_at)),
        (named.OLDEST, _seconds(row.restorable.oldest)),
        (named.NEWEST, _seconds(row.restorable.newest)),
        (named.REQUESTS_PER_DAY, row.requests_per_day),
    )
    for metric, value in values:
        yield metric, (row.name,), value
    yield from _of_drill(row)


def _of_drill(row: Row) -> Iterator[Sample]:
    drill = row.last_drill
    if drill is None:
        return
    yield named.DRILL, (row.name,), _seconds(drill["at"])
    yield named.DRILL_GOOD, (row.name,), _seconds(drill.get("good_at"))
    for outcome in Outcome:
        is_it = drill["outcome"] == outcome
        yield named.DRILL_OUTCOME, (row.name, outcome.value), float(is_it)


def _of_supervisor(snapshot: Snapshot) -> Iterator[Sample]:
    facts, warnings = snapshot.facts, snapshot.warnings
    yield named.INFO, (version("obelisk-ops"), facts.litestream), 1
    yield named.STARTED, (), facts.started_ms / 1000
    yield named.DATABASES, (), len(snapshot.rows)
    yield named.BUCKET_UP, (), float(not facts.bucket_problem)
    yield named.BUCKET_ANSWER, (), _moment(facts.answered_ms)
    yield named.LEASE, (), _moment(facts.lease_until_ms)
    yield named.SKEW, (), _moment(facts.skew_ms)
    yield named.RETENTION, (), float(facts.deletes)
    yield named.REQUESTS, (), facts.requests
    yield named.STARTS, (), snapshot.starts
    yield named.CRASHES, (), warnings.get("litestream_ended", 0)
    for event, count in sorted(warnings.items()):
        yield named.WARNINGS, (event,), count


def _family(metric: Metric) -> Any:  # noqa: ANN401 - two unrelated classes of the library
    if metric.kind is Kind.COUNTER:
        return CounterMetricFamily(metric.full_name, metric.help, labels=metric.labels)
    return GaugeMetricFamily(metric.full_name, metric.help, labels=metric.labels)


def _seconds(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None


def _moment(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
