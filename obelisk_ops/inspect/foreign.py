"""Looking into a database that another engine wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.others.model import Reader, Step, Workflow
from obelisk_ops.inspect.others.readers import recognise, steps_of
from obelisk_ops.inspect.summary import LIMIT_S, is_workflow_database, table_names


def executions(path: Path, *, state: str | None, limit: int) -> list[Workflow]:
    """
    Return the newest executions, of one state where it is named.

    Raises:
        UsageError: No engine is known that writes such a database, or it is our own.
        OpsError: See ``open_read_only``.
    """
    with _read(path) as (reader, connection):
        return reader.workflows(connection, state, limit)


def steps(path: Path, execution_id: str) -> list[Step]:
    """
    Return what is recorded of one execution.

    Raises:
        UsageError: No engine is known that writes such a database, or it is our own.
        ExecutionNotFound: There is none of this id.
        OpsError: See ``open_read_only``.
    """
    with _read(path) as (reader, connection):
        return steps_of(reader, connection, execution_id)


@contextmanager
def _read(path: Path) -> Iterator[tuple[Reader, apsw.Connection]]:
    with open_read_only(path, limit_s=LIMIT_S) as connection:
        if is_workflow_database(connection):
            raise UsageError(
                f"{path} is a workflow database of this program",
                hint="use: obelisk-ops execution list --db DB",
            )
        reader = recognise(table_names(connection))
        if reader is None:
            raise UsageError(
                f"no engine is known that writes a database such as {path}",
                hint="without --list and --id its tables are shown",
            )
        yield reader, connection
