"""
A schema whose every change is witnessed: what it held after each commit can be had again.

Triggers write down each row that comes or goes, and by which transaction. It is the server
that tells, whoever wrote, and whatever tables there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import psycopg
from psycopg import sql

from obelisk_ops.storage import Place, make_if_missing

_WATCH = """
CREATE TABLE witness (
    id bigserial PRIMARY KEY, tx text DEFAULT pg_current_xact_id()::text,
    relation text, gone jsonb, came jsonb
);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness (relation, gone, came) VALUES (TG_TABLE_NAME,
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
        CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
END $$;
"""
_TRIGGER = """
CREATE TRIGGER noting AFTER INSERT OR UPDATE OR DELETE ON {0}
FOR EACH ROW EXECUTE FUNCTION note()
"""
#: transactions in the order in which they were done with writing
_CHANGES = """
SELECT tx, relation, gone::text, came::text FROM witness
JOIN (SELECT tx, max(id) AS done FROM witness GROUP BY tx) AS ends USING (tx) ORDER BY done, id
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r'
    AND relname <> 'witness' ORDER BY relname
"""
#: what a database has rows in that was just made
_KEPT = {"meta"}
#: what is in no row
_SEQUENCES = """
SELECT format('SELECT setval(%L, last_value, is_called) FROM %I.%I',
              current_schema() || '.' || relname, {other}, relname)
FROM pg_class WHERE relnamespace = to_regnamespace({other}) AND relkind = 'S'
    AND relname <> 'witness_id_seq'
"""


class Schema:
    """One of them, looked after by way of a connection of whoever lends it."""

    def __init__(self, place: Place, connection: psycopg.Connection[Any]) -> None:
        self.place, self._connection = place, connection

    def make(self) -> None:
        """Make the tables, and the witness."""
        make_if_missing(self.place)
        watched = [sql.SQL(_TRIGGER).format(_named(table)) for table in self._tables()]
        self.run(sql.SQL(_WATCH), *watched)

    def begin(self) -> None:
        """Forget what was; what is there now is where it begins."""
        insert = "INSERT INTO witness (relation, came) SELECT {}, to_jsonb(x) FROM {} x"
        rows = [sql.SQL(insert).format(table, _named(table)) for table in self._tables()]
        self.run(sql.SQL("DELETE FROM witness"), *rows)

    def empty(self) -> None:
        """Leave what a database has that was just made; there may be none."""
        tables = self._tables()
        if tables:
            emptied = [_emptied(table) for table in tables if table not in _KEPT]
            self.run(*emptied, sql.SQL("UPDATE meta SET value = 1 WHERE key = 'epoch'"))

    def fill_from(self, other: Schema) -> None:
        """Hold what the other one does now, and nothing else."""
        insert = sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM {}")
        parts = [
            part
            for table in self._tables()
            for part in (
                _emptied(table),
                insert.format(_named(table), sql.Identifier(other.place.schema, table)),
            )
        ]
        self.run(*parts)
        self._number_as(other)

    def follow(self, other: Schema) -> Iterator[None]:
        """Hold what the other one did after each of its commits, one after the other."""
        self.run(*map(_emptied, self._tables()))
        # No crash takes back a number that was drawn.
        self._number_as(other)
        changes = other.run(sql.SQL(_CHANGES))
        for number, (_, group) in enumerate(groupby(changes, lambda row: row[0])):
            rows = list(group)
            self.run(*[part for row in rows for part in _again(*row[1:])])
            # The first is what was there; a worker that joins commits nothing.
            if number and any(row[1] not in ("worker", "claimer") for row in rows):
                yield

    def _number_as(self, other: Schema) -> None:
        """Draw no number that the other one has drawn."""
        beside = sql.SQL(_SEQUENCES).format(other=other.place.schema)
        self.run(*[sql.SQL(statement) for (statement,) in self.run(beside)])

    def contents(self) -> dict[str, str]:
        """Return the rows of each table, as one text."""
        every = sql.SQL(
            "SELECT coalesce(string_agg(x::text, ' ' ORDER BY x::text), '') FROM {} x"
        )
        tables = self._tables()
        return {table: self.run(every.format(_named(table)))[0][0] or "" for table in tables}

    def run(self, *statements: sql.Composable) -> list[tuple[Any, ...]]:
        """Run statements in one transaction; return the rows of the last one."""
        here = sql.SQL("SET search_path TO {}").format(sql.Identifier(self.place.schema))
        cursor = self._connection.execute(sql.SQL(";").join([here, *statements]))
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    def _tables(self) -> list[str]:
        return [name for (name,) in self.run(sql.SQL(_TABLES))]


def _named(table: str) -> sql.Identifier:
    return sql.Identifier(table)


def _emptied(table: str) -> sql.Composable:
    return sql.SQL("DELETE FROM {}").format(_named(table))


def _again(relation: str, gone: str | None, came: str | None) -> Iterator[sql.Composable]:
    if gone is not None:
        delete = sql.SQL("DELETE FROM {} x WHERE to_jsonb(x) = {}::jsonb")
        yield delete.format(_named(relation), gone)
    if came is not None:
        insert = sql.SQL(
            "INSERT INTO {0} OVERRIDING SYSTEM VALUE"
            " SELECT * FROM jsonb_populate_record(NULL::{0}, {1})"
        )
        yield insert.format(_named(relation), sql.SQL("{}::jsonb").format(came))
