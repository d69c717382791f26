"""Durable workflows in one SQLite file, streamed to object storage."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obelisk_ops.core.interruptions import Cancelled, TimedOut
    from obelisk_ops.core.retry import Retry
    from obelisk_ops.durable.engine import Engine
    from obelisk_ops.durable.flow.activities import activity
    from obelisk_ops.durable.flow.context import execution_id, now, random, sleep, uuid4
    from obelisk_ops.durable.flow.functions import stub, workflow
    from obelisk_ops.durable.flow.joins import first, gather, join_set
    from obelisk_ops.durable.flow.onward import continue_as_new, patched, schedule
    from obelisk_ops.durable.flow.scopes import saga, timeout
    from obelisk_ops.durable.flow.signals import Signal
    from obelisk_ops.durable.handle import Handle
    from obelisk_ops.durable.scheduling import Schedule
    from obelisk_ops.durable.script import run
    from obelisk_ops.durable.work.queues import Queue
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
        ReplicationTimeout,
        WorkflowMisuse,
    )

# Each name is imported when it is first used: pytest loads our plugin in every run of every
# project, and most commands need few of them.
_HOMES = {
    "core.interruptions": "Cancelled TimedOut",
    "core.retry": "Retry",
    "durable.flow.activities": "activity",
    "durable.flow.context": "execution_id now random sleep uuid4",
    "durable.engine": "Engine",
    "durable.flow.functions": "stub workflow",
    "durable.handle": "Handle",
    "durable.flow.joins": "first gather join_set",
    "durable.flow.onward": "continue_as_new patched schedule",
    "durable.work.queues": "Queue",
    "durable.scheduling": "Schedule",
    "durable.flow.scopes": "saga timeout",
    "durable.script": "run",
    "durable.flow.signals": "Signal",
    "errors": (
        "ActivityFailed ActivityTimedOut CrashLoop ExecutionCancelled ExecutionFailed "
        "ExecutionTimedOut HeartbeatTimedOut Nondeterminism NotSerialisable OpsError "
        "OutcomeUnknown ReplicationTimeout WorkflowMisuse"
    ),
}

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
    "ReplicationTimeout",
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

if not TYPE_CHECKING:  # else a checker would believe in every name

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names.split():
                found = getattr(import_module(f"obelisk_ops.{home}"), name)
                globals()[name] = found
                return found
        raise AttributeError(f"module 'obelisk_ops' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
