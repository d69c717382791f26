"""
Every error this package raises on purpose.

    OpsError                            internal             1
    ├── UsageError                      usage                2
    │   ├── InvalidInput                invalid_input        2   JSON that does not fit
    │   ├── InvalidWhen                 invalid_when         2
    │   ├── FunctionNotFound            function_not_found   2
    │   └── WorkflowMisuse              workflow_misuse      2   a call in the wrong place
    ├── ConfigError                     config               3
    ├── Unproven                        unknown              4
    │   └── NotFinished                 not_finished         4
    ├── Degraded                        degraded             5   lagging, or data unsent
    ├── Unavailable                     unavailable          6
    │   ├── StorageUnavailable          storage_unavailable  6   disk full, locked, I/O error
    │   ├── S3Unavailable               s3_unavailable       6
    │   ├── BucketMissing               bucket_missing       6
    │   └── ProgramMissing              program_missing      6   no Litestream, or one too old
    ├── NotFound                        not_found            7
    │   ├── ExecutionNotFound           execution_not_found  7
    │   ├── StubNotFound                stub_not_found       7   no such call, or not a stub
    │   ├── ScheduleNotFound            schedule_not_found   7
    │   ├── DatabaseNotFound            database_not_found   7
    │   ├── ObjectNotFound              object_not_found     7
    │   ├── ReplicaNotFound             replica_not_found    7
    │   └── RestorePointNotFound        restore_point_not_found 7
    ├── Conflict                        conflict             8
    │   ├── ExecutionExists             execution_exists     8   same id, other input
    │   ├── ExecutionEnded              execution_ended      8
    │   ├── ScheduleExists              schedule_exists      8   same id, other facts
    │   ├── NotCancellable              not_cancellable      8
    │   ├── AlreadyAnswered             already_answered     8   a stub, and otherwise
    │   ├── VersionConflict             version_conflict     8
    │   ├── PreconditionFailed          precondition_failed  8   another writer was first
    │   ├── TargetExists                target_exists        8
    │   └── StaleSidecar                stale_sidecar        8
    ├── Fenced                          fenced               9
    │   └── DatabaseLocked              database_locked      9
    ├── VerificationFailed              verification_failed  10
    │   ├── CorruptDatabase             corrupt_database     10
    │   ├── DamagedObject               damaged_object       10
    │   └── ReplicaGap                  replica_gap          10
    ├── CredentialsError                credentials          11
    ├── ClockError                      clock                12
    ├── ExecutionError                  execution            13
    │   ├── ExecutionFailed             execution_failed     13
    │   │   ├── ExecutionCancelled      execution_cancelled  13
    │   │   └── ExecutionTimedOut       execution_timed_out  13
    │   ├── ActivityFailed              activity_failed      13
    │   ├── ActivityTimedOut            activity_timed_out   13
    │   │   └── HeartbeatTimedOut       heartbeat_timed_out  13
    │   ├── OutcomeUnknown              outcome_unknown      13  at most once, and cut short
    │   └── NotSerialisable             not_serialisable     13
    ├── Nondeterminism                  nondeterminism       14  the execution is parked
    └── CrashLoop                       crash_loop           14  the same: it ends its process

A class names what the *caller* can do about it; ``code`` is stable, scripts match on it;
``exit_status`` is the status of the command; ``hint`` tells a person what to try.
"""

from __future__ import annotations

from typing import ClassVar


class OpsError(Exception):
    """Base of every error below; ``except OpsError`` never hides a bug."""

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OpsError):
    """The command or call cannot mean what was written."""

    code = "usage"
    exit_status = 2


class InvalidInput(UsageError):
    """A value does not fit the signature of the function it is for."""

    code = "invalid_input"


class InvalidWhen(UsageError):
    """A moment is not written in a way that is understood."""

    code = "invalid_when"


class FunctionNotFound(UsageError):
    """No workflow or activity has this name, or its file cannot be loaded."""

    code = "function_not_found"


class WorkflowMisuse(UsageError):
    """A call that is not possible in this place; the message names the right one."""

    code = "workflow_misuse"


class ConfigError(OpsError):
    """The settings are wrong; nothing has been started."""

    code = "config"
    exit_status = 3


class Unproven(OpsError):
    """The answer could not be proven in time; it is not known to be bad."""

    code = "unknown"
    exit_status = 4


class NotFinished(Unproven):
    """The execution has no result yet."""

    code = "not_finished"


class Degraded(OpsError):
    """It works, but data is not where it should be by now."""

    code = "degraded"
    exit_status = 5


class Unavailable(OpsError):
    """Something that is needed cannot be reached; the same call may succeed later."""

    code = "unavailable"
    exit_status = 6


class StorageUnavailable(Unavailable):
    """The database cannot be read or written now: disk full, locked, I/O error."""

    code = "storage_unavailable"


class S3Unavailable(Unavailable):
    """The object store does not answer, or answers that it cannot serve."""

    code = "s3_unavailable"


class BucketMissing(Unavailable):
    """The bucket does not exist."""

    code = "bucket_missing"


class ProgramMissing(Unavailable):
    """A program that is needed is not installed, or is too old."""

    code = "program_missing"


class NotFound(OpsError):
    """The thing asked for does not exist."""

    code = "not_found"
    exit_status = 7


class ExecutionNotFound(NotFound):
    """No execution has this id."""

    code = "execution_not_found"


class StubNotFound(NotFound):
    """No call has this id, or it is not one whose result comes from outside."""

    code = "stub_not_found"


class ScheduleNotFound(NotFound):
    """No schedule has this id."""

    code = "schedule_not_found"


class DatabaseNotFound(NotFound):
    """There is no database at this path."""

    code = "database_not_found"


class ObjectNotFound(NotFound):
    """No object has this key."""

    code = "object_not_found"


class ReplicaNotFound(NotFound):
    """The bucket holds no backup of this name."""

    code = "replica_not_found"


class RestorePointNotFound(NotFound):
    """The moment is before the first restore point, or in the future."""

    code = "restore_point_not_found"


class Conflict(OpsError):
    """The call contradicts what already is."""

    code = "conflict"
    exit_status = 8


class ExecutionExists(Conflict):
    """An execution with this id was created with another function or input."""

    code = "execution_exists"


class ExecutionEnded(Conflict):
    """The execution is finished and takes no more requests."""

    code = "execution_ended"


class ScheduleExists(Conflict):
    """A schedule with this id does something else, or at another time."""

    code = "schedule_exists"


class NotCancellable(Conflict):
    """The execution's workflow does not let itself be cancelled."""

    code = "not_cancellable"


class AlreadyAnswered(Conflict):
    """The call was answered before with another result, or is not wanted any more."""

    code = "already_answered"


class VersionConflict(Conflict):
    """Another writer appended first; reread the log and decide again."""

    code = "version_conflict"


class PreconditionFailed(Conflict):
    """Another writer changed or created the object first."""

    code = "precondition_failed"


class TargetExists(Conflict):
    """The file to write exists; nothing that exists is overwritten."""

    code = "target_exists"


class StaleSidecar(Conflict):
    """A -wal, -shm or -journal file beside the target would change what is restored."""

    code = "stale_sidecar"


class Fenced(OpsError):
    """Another owner has the right to write."""

    code = "fenced"
    exit_status = 9


class DatabaseLocked(Fenced):
    """Another process of this machine owns the database."""

    code = "database_locked"


class VerificationFailed(OpsError):
    """What was read is not what must have been written."""

    code = "verification_failed"
    exit_status = 10


class CorruptDatabase(VerificationFailed):
    """SQLite's own check finds the file damaged, or it is no database."""

    code = "corrupt_database"


class DamagedObject(VerificationFailed):
    """An object of a replica is truncated or fails its checksum."""

    code = "damaged_object"


class ReplicaGap(VerificationFailed):
    """Transactions are missing between the objects of a replica."""

    code = "replica_gap"


class CredentialsError(OpsError):
    """The credentials are missing, wrong, or not allowed to do this."""

    code = "credentials"
    exit_status = 11


class ClockError(OpsError):
    """The clock of this machine differs too much from the object store's."""

    code = "clock"
    exit_status = 12


class ExecutionError(OpsError):
    """The code that was run failed, not the machinery around it."""

    code = "execution"
    exit_status = 13

    def __init__(self, message: str, *, error_type: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.error_type = error_type


class ExecutionFailed(ExecutionError):
    """The workflow ended with an error; ``error_type`` names its class."""

    code = "execution_failed"


class ExecutionCancelled(ExecutionFailed):
    """The execution was cancelled, and its code let that happen."""

    code = "execution_cancelled"


class ExecutionTimedOut(ExecutionFailed):
    """The execution took longer than its workflow's timeout."""

    code = "execution_timed_out"


class ActivityFailed(ExecutionError):
    """An activity failed for good; ``error_type`` names the class of its last error."""

    code = "activity_failed"


class ActivityTimedOut(ExecutionError):
    """An attempt took longer than the activity's timeout."""

    code = "activity_timed_out"


class HeartbeatTimedOut(ActivityTimedOut):
    """A running attempt gave no heartbeat for too long."""

    code = "heartbeat_timed_out"


class OutcomeUnknown(ExecutionError):
    """An at-most-once activity was cut short: it may have happened, and is not run again."""

    code = "outcome_unknown"


class NotSerialisable(ExecutionError):
    """A value cannot be written as JSON, or does not fit its annotation."""

    code = "not_serialisable"


class Nondeterminism(OpsError):
    """The code asked for something else than its log says; the execution is parked."""

    code = "nondeterminism"
    exit_status = 14
    version: int | None = None  # of the event that does not fit, where that is known


class CrashLoop(OpsError):
    """One call has ended together with its process again and again; the execution is parked."""

    code = "crash_loop"
    exit_status = 14
