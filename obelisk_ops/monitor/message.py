"""What is sent: one message for everything that there is to tell at the moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from obelisk_ops.core.clock import iso
from obelisk_ops.monitor.damping import Notice
from obelisk_ops.settings import hide_in
from obelisk_ops.supervise.status import DRILL_FAILED, Row

_VERSION = 1
#: Of a database that is not configured any more.
REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """
    What is told of one database; its fields are those of the message.

    Times are ISO 8601; ``severity`` of what is over is how bad it was; None is "not known".
    """

    database: str
    status: str  # firing | resolved
    severity: str  # warning | critical
    state: str
    reason: str
    detail: str
    since: str
    repeat: bool
    rpo_seconds: float | None = None
    unsent_transactions: int | None = None
    epoch: int | None = None


def alert(name: str, row: Row | None, notice: Notice, *, past_ms: int) -> Alert:
    """
    Return what to tell of a database.

    Args:
        name: The database.
        row: Its state; None if it is not looked after any more.
        notice: What was decided.
        past_ms: From the clock of the notice to UTC.
    """
    return Alert(
        database=name,
        status="resolved" if notice.is_over else "firing",
        severity=notice.severity.word,
        state=row.state if row else REMOVED,
        reason=_reason(row) if row else "",
        detail=row.detail if row else "",
        since=iso(notice.since_ms + past_ms),
        repeat=notice.is_repeat,
        rpo_seconds=row.rpo_seconds if row else None,
        unsent_transactions=row.unsent_transactions if row else None,
        epoch=row.epoch if row else None,
    )


def _reason(row: Row) -> str:
    return row.reason or (DRILL_FAILED if row.has_failed_drill else "")


def encode(alerts: Sequence[Alert], *, host: str, at_ms: int) -> bytes:
    """Return the message as JSON, without any secret that was ever read."""
    is_firing = any(each.status == "firing" for each in alerts)
    message = {
        "version": _VERSION,
        "status": "firing" if is_firing else "resolved",
        "host": host,
        "at": iso(at_ms),
        "alerts": [msgspec.to_builtins(each) for each in alerts],
    }
    return msgspec.json.encode(hide_in(message))
