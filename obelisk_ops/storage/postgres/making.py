"""Making the schema and its tables; many may do so at the same time."""

from __future__ import annotations

import secrets
from contextlib import closing

import psycopg

from obelisk_ops.storage import sql
from obelisk_ops.storage.postgres.errors import translate
from obelisk_ops.storage.postgres.line import Line
from obelisk_ops.storage.postgres.migrations import NEWEST
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import (
    PACKAGE,
    QUERIES,
    beginning,
    connect,
    is_missing,
)


def is_made(place: Place) -> bool:
    """
    Tell whether the tables are there.

    Raises:
        ConfigError: The schema holds what is not ours.
        StorageUnavailable: The server does not answer.
    """
    with closing(connect(place)) as connection:
        try:
            return not is_missing(connection, place)
        except psycopg.Error as error:
            raise translate(error, place.label) from error


def make_if_missing(place: Place) -> bool:
    """
    Make schema and tables, unless they are there; return whether they were made.

    Raises:
        CredentialsError: The user may not.
        ConfigError: The schema holds what is not ours.
        StorageUnavailable: The server does not answer.
    """
    with closing(connect(place)) as connection:
        try:
            return is_missing(connection, place) and _make(connection, place)
        except psycopg.Error as error:
            raise translate(error, place.label) from error


def _make(line: Line, place: Place) -> bool:
    """Make all in one transaction, one process after the other; whether there was need."""
    cursor = psycopg.RawCursor(line)
    for statement, values in beginning(line, place):
        cursor.execute(statement, values)
    cursor.execute(QUERIES["lock_until_commit"], (place.lock_key("making"),))
    is_needed = is_missing(line, place)
    if is_needed:
        cursor.execute(f'CREATE SCHEMA IF NOT EXISTS "{place.schema}"')
        cursor.execute(sql.read(PACKAGE, "schema.sql"))
        facts = {
            "schema_version": str(NEWEST.version),
            "oldest_version": str(NEWEST.oldest),
            "database_id": secrets.token_hex(16),
            "epoch": "1",
        }
        cursor.executemany(QUERIES["put_meta"], list(facts.items()))
    cursor.execute("COMMIT")
    return is_needed
