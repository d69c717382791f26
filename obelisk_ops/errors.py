"""
Every error this package raises on purpose.

    OpsError                            internal             1
    ├── UsageError                      usage                2
    │   ├── InvalidInput                invalid_input        2   JSON that does not fit
    │   ├── InvalidWhen                 invalid_when         2
    │   ├── FunctionNotFound            function_not_found   2
    │   ├── WorkflowMisuse              workflow_misuse      2   a call in the wrong place
    │   ├── ForeignDatabase             foreign_database     2   of another program
    │   ├── CommandNotExecutable        command_not_executable 126   as a shell says it
    │   └── CommandNotFound             command_not_found    127
    ├── ConfigError                     config               3
    ├── Unproven                        unknown              4
    │   ├── NotFinished                 not_finished         4
    │   ├── LimitExceeded               limit_exceeded       4   of time or memory
    │   └── ReaderCrashed               reader_crashed       4   of what a database holds
    ├── Degraded                        degraded             5   lagging, or data unsent
    ├── Unavailable                     unavailable          6
    │   ├── StorageUnavailable          storage_unavailable  6   disk full, locked, I/O error
    │   │   └── TooManyFiles            too_many_files       6   more than the limit allows
    │   ├── S3Unavailable               s3_unavailable       6
    │   ├── ReplicationTimeout          replication_timeout  6   not in the bucket in time
    │   ├── BucketMissing               bucket_missing       6
    │   ├── TooManyProcesses            too_many_processes   6   no process or thread to be had
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
    │   ├── StillServed                 still_served         8   by older workers
    │   ├── TargetExists                target_exists        8
    │   └── StaleSidecar                stale_sidecar        8
    ├── Fenced                          fenced               9
    │   └── DatabaseLocked              database_locked      9
    ├── VerificationFailed              verification_failed  10
    │   ├── CorruptDatabase             corrupt_database     10
    │   ├── DamagedObject               damaged_object       10
    │   ├── ReplicaGap                  replica_gap          10
    │   └── BackupMissing               backup_missing       10  expected, and not there
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
    ├── CrashLoop                       crash_loop           14  the same: it ends its process
    └── Interrupted                     interrupted          130  by Ctrl-C

A class names what the *caller* can do about it; ``code`` is stable, scripts match on it;
``exit_status`` is the status of the command; ``hint`` tells a person what to try.
"""

from __future__ import annotations

from typing import ClassVar


class OpsError(Exception):
    """Base of every error below; ``except OpsError`` never hides a bug."""

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init_subclass__(cls, *, code: str = "", exit_status: int | None = None) -> None:
        """Give a kind of error its code and its status, where they are not its parent's."""
        super().__init_subclass__()
        cls.code = code or cls.code
        if exit_status is not None:
            cls.exit_status = exit_status

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OpsError, code="usage", exit_status=2):
    """The command or call cannot mean what was written."""


class InvalidInput(UsageError, code="invalid_input"):
    """A value does not fit the signature of the function it is for."""


class InvalidWhen(UsageError, code="invalid_when"):
    """A moment is not written in a way that is understood."""


class FunctionNotFound(UsageError, code="function_not_found"):
    """No workflow or activity has this name, or its file cannot be loaded."""


class WorkflowMisuse(UsageError, code="workflow_misuse"):
    """A call that is not possible in this place; the message names the right one."""


class ForeignDatabase(UsageError, code="foreign_database"):
    """An SQLite database of another program is named where one of workflows is needed."""


class CommandNotExecutable(UsageError, code="command_not_executable", exit_status=126):
    """The program to run is there, and cannot be run."""


class CommandNotFound(UsageError, code="command_not_found", exit_status=127):
    """There is no such program to run."""


class ConfigError(OpsError, code="config", exit_status=3):
    """The settings are wrong; nothing has been started."""


class Unproven(OpsError, code="unknown", exit_status=4):
    """The answer could not be proven in time; it is not known to be bad."""


class NotFinished(Unproven, code="not_finished"):
    """The execution has no result yet."""


class LimitExceeded(Unproven, code="limit_exceeded"):
    """To read a database takes more time or memory than reading may."""


class ReaderCrashed(Unproven, code="reader_crashed"):
    """The process that read a database died of it; nobody else was harmed."""


class Degraded(OpsError, code="degraded", exit_status=5):
    """It works, but data is not where it should be by now."""


class Unavailable(OpsError, code="unavailable", exit_status=6):
    """Something that is needed cannot be reached; the same call may succeed later."""


class StorageUnavailable(Unavailable, code="storage_unavailable"):
    """The database cannot be read or written now: disk full, locked, I/O error."""


class TooManyFiles(StorageUnavailable, code="too_many_files"):
    """More files would have to be open than the system allows this process."""


class S3Unavailable(Unavailable, code="s3_unavailable"):
    """The object store does not answer, or answers that it cannot serve."""


class ReplicationTimeout(Unavailable, code="replication_timeout"):
    """It is on this disk, and could not be proven to be in the bucket in time."""


class BucketMissing(Unavailable, code="bucket_missing"):
    """The bucket does not exist."""


class TooManyProcesses(Unavailable, code="too_many_processes"):
    """The system starts no more processes or threads for this user or service."""


class ProgramMissing(Unavailable, code="program_missing"):
    """A program that is needed is not installed, or is too old."""


class NotFound(OpsError, code="not_found", exit_status=7):
    """The thing asked for does not exist."""


class ExecutionNotFound(NotFound, code="execution_not_found"):
    """No execution has this id."""


class StubNotFound(NotFound, code="stub_not_found"):
    """No call has this id, or it is not one whose result comes from outside."""


class ScheduleNotFound(NotFound, code="schedule_not_found"):
    """No schedule has this id."""


class DatabaseNotFound(NotFound, code="database_not_found"):
    """There is no database at this path."""


class ObjectNotFound(NotFound, code="object_not_found"):
    """No object has this key."""


class ReplicaNotFound(NotFound, code="replica_not_found"):
    """The bucket holds no backup of this name."""


class RestorePointNotFound(NotFound, code="restore_point_not_found"):
    """The moment is before the first restore point, or in the future."""


class Conflict(OpsError, code="conflict", exit_status=8):
    """The call contradicts what already is."""


class ExecutionExists(Conflict, code="execution_exists"):
    """An execution with this id was created with another function or input."""


class ExecutionEnded(Conflict, code="execution_ended"):
    """The execution is finished and takes no more requests."""


class ScheduleExists(Conflict, code="schedule_exists"):
    """A schedule with this id does something else, or at another time."""


class NotCancellable(Conflict, code="not_cancellable"):
    """The execution's workflow does not let itself be cancelled."""


class AlreadyAnswered(Conflict, code="already_answered"):
    """The call was answered before with another result, or is not wanted any more."""


class VersionConflict(Conflict, code="version_conflict"):
    """Another writer appended first; reread the log and decide again."""


class PreconditionFailed(Conflict, code="precondition_failed"):
    """Another writer changed or created the object first."""


class StillServed(Conflict, code="still_served"):
    """Workers live that could not work with the tables of a newer version."""


class TargetExists(Conflict, code="target_exists"):
    """The file to write exists; nothing that exists is overwritten."""


class StaleSidecar(Conflict, code="stale_sidecar"):
    """A -wal, -shm or -journal file beside the target would change what is restored."""


class Fenced(OpsError, code="fenced", exit_status=9):
    """Another owner has the right to write."""


class DatabaseLocked(Fenced, code="database_locked"):
    """Another process of this machine owns the database."""


class VerificationFailed(OpsError, code="verification_failed", exit_status=10):
    """What was read is not what must have been written."""


class CorruptDatabase(VerificationFailed, code="corrupt_database"):
    """SQLite's own check finds the file damaged, or it is no database."""


class DamagedObject(VerificationFailed, code="damaged_object"):
    """An object of a replica is truncated or fails its checksum."""


class ReplicaGap(VerificationFailed, code="replica_gap"):
    """Transactions are missing between the objects of a replica."""


class BackupMissing(VerificationFailed, code="backup_missing"):
    """There must be a backup, and the bucket knows nothing of it."""


class CredentialsError(OpsError, code="credentials", exit_status=11):
    """The credentials are missing, wrong, or not allowed to do this."""


class ClockError(OpsError, code="clock", exit_status=12):
    """The clock of this machine differs too much from the object store's."""


class ExecutionError(OpsError, code="execution", exit_status=13):
    """The code that was run failed, not the machinery around it."""

    def __init__(self, message: str, *, error_type: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.error_type = error_type


class ExecutionFailed(ExecutionError, code="execution_failed"):
    """The workflow ended with an error; ``error_type`` names its class."""


class ExecutionCancelled(ExecutionFailed, code="execution_cancelled"):
    """The execution was cancelled, and its code let that happen."""


class ExecutionTimedOut(ExecutionFailed, code="execution_timed_out"):
    """The execution took longer than its workflow's timeout."""


class ActivityFailed(ExecutionError, code="activity_failed"):
    """An activity failed for good; ``error_type`` names the class of its last error."""


class ActivityTimedOut(ExecutionError, code="activity_timed_out"):
    """An attempt took longer than the activity's timeout."""


class HeartbeatTimedOut(ActivityTimedOut, code="heartbeat_timed_out"):
    """A running attempt gave no heartbeat for too long."""


class OutcomeUnknown(ExecutionError, code="outcome_unknown"):
    """An at-most-once activity was cut short: it may have happened, and is not run again."""


class NotSerialisable(ExecutionError, code="not_serialisable"):
    """A value cannot be written as JSON, or does not fit its annotation."""


class Nondeterminism(OpsError, code="nondeterminism", exit_status=14):
    """The code asked for something else than its log says; the execution is parked."""

    version: int | None = None  # of the event that does not fit, where that is known


class CrashLoop(OpsError, code="crash_loop", exit_status=14):
    """One call has ended together with its process again and again; the execution is parked."""


class Interrupted(OpsError, code="interrupted", exit_status=130):
    """Somebody has stopped the command; an execution goes on when it is given again."""
