"""What PostgreSQL says, in our words. By SQLSTATE, never by text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import psycopg

from obelisk_ops.errors import (
    ConfigError,
    CorruptDatabase,
    CredentialsError,
    DatabaseNotFound,
    ExecutionExists,
    Fenced,
    OpsError,
    StorageUnavailable,
    VersionConflict,
)
from obelisk_ops.storage.postgres import refusals

_ID_IS_TAKEN: Final = "an_id_is_used_once"
_NOT_THE_OWNER: Final = "one_owner_at_a_time"
#: classes in which the statement, not the server, is to blame
_GUILTY_CLASSES: Final = ("21", "22", "23", "54")
#: the class of what the server does not understand
_MEANINGLESS: Final = "42"
#: classes in which the connection ends
_LOSS_CLASSES: Final = ("08", "57")
#: after which nothing is known of what was under way, whatever the reason
_LAST_WORDS: Final = ("FATAL", "PANIC")
#: a transaction is undone for the sake of another one
_CONFLICTS: Final = ("40001", "40P01")
_UNIQUE: Final = "23505"


#: makes an error of how messages name the database, and what the server said
_Maker: TypeAlias = Callable[[str, str], OpsError]


def is_guilty(error: psycopg.Error) -> bool:
    """Tell whether the rest of a group can be saved without the write that raised this."""
    state = error.sqlstate or ""
    return state[:2] in _GUILTY_CLASSES and error.diag.constraint_name != _NOT_THE_OWNER


def is_loss(error: psycopg.Error) -> bool:
    """Tell whether the server ends the connection, or said nothing at all."""
    is_about_it = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    is_end = error.sqlstate is None or error.sqlstate[:2] in _LOSS_CLASSES
    return is_about_it and (is_end or error.diag.severity_nonlocalized in _LAST_WORDS)


def is_conflict(error: BaseException | None) -> bool:
    """Tell whether all was undone for the sake of another transaction: it may be done again."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _CONFLICTS


def may_pass(error: BaseException | None) -> bool:
    """Tell whether a server that refused a statement may take it later, as it is."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is not None and state[:2] not in (*_GUILTY_CLASSES, _MEANINGLESS)


def translate(error: psycopg.Error, label: str) -> OpsError:
    """
    Return the error of ours that says what the caller can do.

    Args:
        error: What was raised.
        label: How messages name the database.
    """
    state = error.sqlstate or ""
    if state[:2] == "23":
        return _constraint(error, label)
    return _by_state(state, _unavailable)(label, _said(error))


def unreachable(error: psycopg.Error, label: str, conninfo: str) -> OpsError:
    """Return the error for a connection that could not be made."""
    line = error.pgconn
    if line is not None and (line.needs_password or line.used_password):
        state = refusals.sqlstate(conninfo) if line.used_password else ""
        return _by_state(state, _refused if not state else _unavailable)(label, _said(error))
    return StorageUnavailable(
        f"{label} cannot be reached: {_said(error)}",
        hint="check that the server runs, and host, port, database and TLS options (sslmode, "
        "sslrootcert) of the URL",
    )


def _by_state(state: str, otherwise: _Maker) -> _Maker:
    return _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or otherwise


def _said(error: psycopg.Error) -> str:
    """Return what the server said, on one line; a detail may hold values, and is left out."""
    said = error.diag.message_primary or str(error)
    return " ".join(said.split()) or type(error).__name__


def _constraint(error: psycopg.Error, label: str) -> OpsError:
    match error.sqlstate, error.diag.constraint_name:
        case (_, name) if name == _NOT_THE_OWNER:
            return fenced(label)
        case (state, name) if state == _UNIQUE and name == _ID_IS_TAKEN:
            return ExecutionExists(f"{label}: an execution with this id exists")
        case (state, _) if state == _UNIQUE:
            return VersionConflict(f"{label}: another writer appended to this log first")
    return StorageUnavailable(f"{label}: a row was refused: {_said(error)}")


def fenced(label: str) -> Fenced:
    """Return the error of an owner that was succeeded."""
    return Fenced(
        f"{label} belongs to another process now",
        hint="its connection was lost, and another worker took over: stop this one",
    )


def _unavailable(label: str, said: str) -> OpsError:
    return StorageUnavailable(f"{label}: {said}")


def _refused(label: str, said: str) -> OpsError:
    return CredentialsError(
        f"{label} refuses this user: {said}",
        hint="check user and password of the URL, of ~/.pgpass or of PGPASSWORD; a user needs "
        "CREATE on the database once, and its own schema from then on",
    )


def _no_database(label: str, said: str) -> OpsError:
    return DatabaseNotFound(f"{label}: {said}", hint="make it: createdb NAME")


def _no_tables(label: str, said: str) -> OpsError:
    return ConfigError(f"{label} has not the tables that are expected: {said}")


def _read_only(label: str, said: str) -> OpsError:
    return StorageUnavailable(
        f"{label} cannot be written: {said}",
        hint="name the primary: target_session_attrs=read-write in the URL",
    )


def _full(label: str, said: str) -> OpsError:
    return StorageUnavailable(f"{label}: {said}", hint="free some space on the server")


def _crowded(label: str, said: str) -> OpsError:
    return StorageUnavailable(
        f"{label}: {said}", hint="raise max_connections of the server, or end other connections"
    )


def _locked(label: str, said: str) -> OpsError:
    return StorageUnavailable(
        f"{label} is locked by another connection: {said}", hint="see who in pg_stat_activity"
    )


def _damaged(label: str, said: str) -> OpsError:
    return CorruptDatabase(
        f"{label} is damaged: {said}", hint="restore it from the backup of the server"
    )


_BY_STATE: Final[dict[str, _Maker]] = {
    "28": _refused,
    "42501": _refused,
    "3D000": _no_database,
    "3F000": _no_tables,
    "42P01": _no_tables,
    "42703": _no_tables,
    "25006": _read_only,
    "53100": _full,
    "53300": _crowded,
    "55P03": _locked,
    "XX001": _damaged,
    "XX002": _damaged,
}
