"""
Which engine a database is of, by its tables.

Each engine has a reader of its own. They read columns that every version of the engine has had,
or look first which there are. Nothing that such a database holds is run, imported or unpickled.
"""

from __future__ import annotations

import apsw

from obelisk_ops.errors import ExecutionNotFound
from obelisk_ops.inspect.others import dbos, obelisk
from obelisk_ops.inspect.others.model import Overview, Reader, Step

READERS = (dbos.READER, obelisk.READER)


def recognise(tables: set[str]) -> Reader | None:
    """Return the reader for a database with these tables; None if no engine is known."""
    return next((reader for reader in READERS if reader.tables <= tables), None)


def overview_of(connection: apsw.Connection, tables: set[str]) -> Overview | None:
    """Return what ran in a database; None where no engine is known, or only its names are."""
    reader = recognise(tables)
    try:
        return reader.overview(connection) if reader else None
    except apsw.SQLError:  # tables of these names, and not with these columns
        return None


def steps_of(reader: Reader, connection: apsw.Connection, execution_id: str) -> list[Step]:
    """
    Return what is recorded of one execution.

    Raises:
        ExecutionNotFound: There is none of this id.
    """
    found = reader.steps(connection, execution_id)
    if found is None:
        raise ExecutionNotFound(
            f"the {reader.engine} database has no execution {execution_id!r}",
            hint="see what there is: obelisk-ops inspect DB --list",
        )
    return found
