"""Durable workflows in one SQLite file, streamed to object storage."""

from obelisk_ops.core.interruptions import Cancelled, TimedOut
from obelisk_ops.core.retry import Retry
from obelisk_ops.durable.activities import activity
from obelisk_ops.durable.context import execution_id, now, random, sleep, uuid4
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.functions import stub, workflow
from obelisk_ops.durable.handle import Handle
from obelisk_ops.durable.joins import first, gather, join_set
from obelisk_ops.durable.onward import continue_as_new, patched, schedule
from obelisk_ops.durable.queues import Queue
from obelisk_ops.durable.scheduling import Schedule
from obelisk_ops.durable.scopes import saga, timeout
from obelisk_ops.durable.script import run
from obelisk_ops.durable.signals import Signal
from obelisk_ops.errors import (
    ActivityFailed,
    ActivityTimedOut,
    CrashLoop,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionTimedOut,
    HeartbeatTimedOut,
    Nondeterminism,
    NotSerialisable,
    OpsError,
    OutcomeUnknown,
    WorkflowMisuse,
)

__all__ = [
    "ActivityFailed",
    "ActivityTimedOut",
    "Cancelled",
    "CrashLoop",
    "Engine",
    "ExecutionCancelled",
    "ExecutionFailed",
    "ExecutionTimedOut",
    "Handle",
    "HeartbeatTimedOut",
    "Nondeterminism",
    "NotSerialisable",
    "OpsError",
    "OutcomeUnknown",
    "Queue",
    "Retry",
    "Schedule",
    "Signal",
    "TimedOut",
    "WorkflowMisuse",
    "activity",
    "continue_as_new",
    "execution_id",
    "first",
    "gather",
    "join_set",
    "now",
    "patched",
    "random",
    "run",
    "saga",
    "schedule",
    "sleep",
    "stub",
    "timeout",
    "uuid4",
    "workflow",
]
