"""Durable workflows in one SQLite file, streamed to object storage."""

from obelisk_ops.core.retry import Retry
from obelisk_ops.durable.activities import activity
from obelisk_ops.durable.context import execution_id, join_set, now, random, sleep, uuid4
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.functions import workflow
from obelisk_ops.durable.handle import Handle
from obelisk_ops.durable.script import run
from obelisk_ops.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ExecutionFailed,
    Nondeterminism,
    NotSerialisable,
    OpsError,
    WorkflowMisuse,
)

__all__ = [
    "ActivityFailed",
    "ActivityTimedOut",
    "Engine",
    "ExecutionFailed",
    "Handle",
    "Nondeterminism",
    "NotSerialisable",
    "OpsError",
    "Retry",
    "WorkflowMisuse",
    "activity",
    "execution_id",
    "join_set",
    "now",
    "random",
    "run",
    "sleep",
    "uuid4",
    "workflow",
]
