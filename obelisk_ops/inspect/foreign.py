"""Looking into a database that another engine wrote."""

from __future__ import annotations

import apsw

from obelisk_ops.errors import ForeignDatabase, UsageError
from obelisk_ops.inspect.others.model import Reader, Step, Workflow
from obelisk_ops.inspect.others.readers import recognise, steps_of
from obelisk_ops.inspect.summary import is_workflow_database, table_names


def executions(
    connection: apsw.Connection, name: str, *, state: str | None, limit: int
) -> list[Workflow]:
    """
    Return the newest executions, of one state where it is named.

    Raises:
        UsageError: No engine is known that writes such a database, or it is our own.
    """
    return _reader(connection, name).workflows(connection, state, limit)


def steps(connection: apsw.Connection, name: str, execution_id: str) -> list[Step]:
    """
    Return what is recorded of one execution.

    Raises:
        UsageError: No engine is known that writes such a database, or it is our own.
        ExecutionNotFound: There is none of this id.
    """
    return steps_of(_reader(connection, name), connection, execution_id)


def _reader(connection: apsw.Connection, name: str) -> Reader:
    if is_workflow_database(connection):
        raise UsageError(
            f"{name} is a workflow database of this program",
            hint="list what ran in it: obelisk-ops execution list --db DB",
        )
    reader = recognise(table_names(connection))
    if reader is None:
        raise ForeignDatabase(
            f"{name} is an SQLite database of another program, of no engine that is known",
            hint="without --list and --id its tables are shown",
        )
    return reader
