"""
What runs beside the supervisor and looks at it: metrics, alerts.

It sees what `status` shows and nothing else, asks the bucket nothing, and can not
hold up the work: whatever it raises ends it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from obelisk_ops.supervise.fleet import Fleet, Log
from obelisk_ops.supervise.status import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What is true of the supervisor as a whole. Times are UTC milliseconds.

    Attributes:
        litestream: The version of Litestream.
        started_ms: When the supervisor began.
        requests: How many requests it has made to the bucket itself.
        bucket_problem: Code of what is wrong with the bucket; empty if nothing is.
        answered_ms: When the request began that the bucket last answered; None if none was.
        lease_until_ms: When the right to write ends if it is not renewed; None without one.
        skew_ms: How far this clock is ahead of the bucket's; None if that is not known.
        deletes: Whether Litestream may delete by this clock.
    """

    litestream: str
    started_ms: int
    requests: int
    bucket_problem: str
    answered_ms: int | None
    lease_until_ms: int | None
    skew_ms: int | None
    deletes: bool


class View(Protocol):
    """The supervisor, as it may be looked at from its own thread."""

    def rows(self) -> Sequence[Row]:
        """Judge every database anew."""
        ...

    def facts(self) -> Facts:
        """Return what is true of the whole."""
        ...


class Companion(Protocol):
    """Something that runs for as long as the supervisor does."""

    async def run(self, view: View) -> None:
        """Do its work until it is cancelled."""
        ...


def facts_of(fleet: Fleet, *, litestream: str, started_ms: int) -> Facts:
    """Return what is true of the whole now."""
    bucket, lease, clock = fleet.bucket, fleet.lease, fleet.clock
    # From the clock that only moves forward to the one that people read.
    past_ms = clock.now_ms() - clock.elapsed_ms()
    return Facts(
        litestream=litestream,
        started_ms=started_ms,
        requests=bucket.meter.sent,
        bucket_problem=bucket.problem.code if bucket.problem else "",
        answered_ms=None if bucket.answered_ms is None else bucket.answered_ms + past_ms,
        lease_until_ms=lease.deadline_ms + past_ms if lease.id else None,
        skew_ms=fleet.retention.skew_ms,
        deletes=fleet.retention.may_delete(),
    )


async def accompany(companion: Companion, view: View, log: Log) -> None:
    """Run a companion; that it fails is said, and disturbs nobody."""
    try:
        await companion.run(view)
    except Exception as bug:  # noqa: BLE001 - backups go on without it
        text = f"this is a bug: {type(bug).__name__}: {bug}"
        log.warning("bug", companion=type(companion).__name__, error=text)
