"""What SQLite says, in our words. By code, never by text."""

from __future__ import annotations

from pathlib import Path

import apsw

from obelisk_ops.errors import (
    ConfigError,
    CorruptDatabase,
    ExecutionExists,
    OpsError,
    StorageUnavailable,
    VersionConflict,
)

#: the statement, not the disk, is to blame: the rest of its group can be saved
GUILTY = (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, apsw.RangeError)


def translate(error: apsw.Error, path: Path | str) -> OpsError:  # noqa: PLR0911 - a table
    """Return the error of ours that says what the caller can do."""
    match error:
        case apsw.ConstraintError():
            return _constraint(error, path)
        case apsw.CorruptError() | apsw.NotADBError():
            return CorruptDatabase(
                f"{path} is damaged or is no SQLite database: {error}",
                hint="restore it from its backup: obelisk-ops restore NAME --to NEW-PATH",
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return StorageUnavailable(
                f"{path} cannot be written: {error}", hint="check its owner and mode"
            )
        case apsw.FullError():
            return StorageUnavailable(f"{path}: the disk is full", hint="free some space")
        case apsw.BusyError() | apsw.LockedError():
            return StorageUnavailable(
                f"{path} is locked by another program", hint="see who with: fuser -v FILE"
            )
        case apsw.CantOpenError():
            return _unopened(error, path)
        case apsw.SchemaChangeError() | apsw.SQLError():
            return ConfigError(f"{path} has not the tables that are expected: {error}")
        case _:
            return StorageUnavailable(f"{path}: {type(error).__name__}: {error}")


def _unopened(error: apsw.Error, path: Path | str) -> OpsError:
    if isinstance(path, Path) and path.is_dir():
        return StorageUnavailable(
            f"{path} is a folder, not a database", hint="name a file, such as FOLDER/runs.db"
        )
    return StorageUnavailable(
        f"{path} cannot be opened: {error}", hint="check that its folder exists"
    )


def _constraint(error: apsw.Error, path: Path | str) -> OpsError:
    code = getattr(error, "extendedresult", 0)
    if code == apsw.SQLITE_CONSTRAINT_PRIMARYKEY:
        return VersionConflict(f"{path}: another writer appended to this log first")
    if code == apsw.SQLITE_CONSTRAINT_UNIQUE:
        return ExecutionExists(f"{path}: an execution with this id exists")
    return StorageUnavailable(f"{path}: a row was refused: {error}")
