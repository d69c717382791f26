"""
What is asked all the time is looked up, whatever the server believes of the tables.

A plan is kept for as long as a connection, or until the server looks at a table anew. One that
was made when there were three executions must do for a million.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from obelisk_ops.storage import make_if_missing
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.session import QUERIES, connect
from tests.postgres import Postgres

#: tables that grow with all that was ever done
GROWING = {"state", "log", "inbox", "timer", "beat", "output"}
#: what tells of all there is, or goes on with all of it
THOROUGH = {
    "armed_timers", "last_beats", "last_key", "list_states", "newest_roots", "survey_census",
    "survey_failures", "survey_last_event", "survey_open_calls",
}  # fmt: skip
_FEW = """
INSERT INTO state (key, id, function, state, created_at, worker)
SELECT n, n, 'f', CASE WHEN n < 30 THEN 'finished' ELSE 'blocked' END, n, 1
FROM generate_series(1, 60) AS n;
INSERT INTO log SELECT (n::bigint << 32), n, 'created', '{}' FROM generate_series(1, 60) AS n;
INSERT INTO timer SELECT n, 1, n FROM generate_series(1, 60) AS n;
INSERT INTO inbox SELECT n, 1, 'timer', 1, n, '{}' FROM generate_series(1, 60) AS n;
INSERT INTO beat SELECT n, 1, 1, n, '{}' FROM generate_series(1, 60) AS n;
INSERT INTO output SELECT n, 1, 1, 1, 'log', n, '' FROM generate_series(1, 60) AS n;
INSERT INTO task (execution, n, attempt, id, function, manner, input, queue, priority)
SELECT n, 1, 1, n, 'a', '{}', '[]', 'default', 0 FROM generate_series(1, 60) AS n;
INSERT INTO mailbox (id, at, kind, target, body, chain, function)
SELECT n, n, 'create', n, '{}', n, 'f' FROM generate_series(1, 60) AS n;
ANALYZE;
"""


@pytest.fixture(params=["new", "small"])
def cursor(
    postgres: Postgres, request: pytest.FixtureRequest
) -> Iterator[psycopg.RawCursor[Any]]:
    """What asks in a schema that is new, or that the server knows to be small."""
    at = place.read(postgres.fresh_url())  # one that others had used is known to be empty
    make_if_missing(at)
    with closing(connect(at)) as connection:
        yield asking(connection, request.param)


def asking(connection: psycopg.Connection[Any], tables: str) -> psycopg.RawCursor[Any]:
    """Return what asks, when the tables are as they are to be."""
    cursor = psycopg.RawCursor(connection)
    cursor.execute(b"SET plan_cache_mode TO force_generic_plan")
    if tables == "small":
        for statement in _FEW.split(";\n")[:-1]:
            cursor.execute(statement.encode())
    return cursor


def test_no_statement_reads_through_what_grows(cursor: psycopg.RawCursor[Any]) -> None:
    found = {
        name: scans
        for name, text in QUERIES.items()
        if name not in THOROUGH and (scans := read_through(cursor, name, text))
    }
    assert found == {}


def read_through(cursor: psycopg.RawCursor[Any], name: str, text: str) -> list[str]:
    """Return which of the growing tables a statement reads from their beginning."""
    if not re.match(r"SELECT|INSERT|UPDATE|DELETE|WITH", text):
        return []  # the others have no plans
    many = max(map(int, re.findall(r"\$(\d+)", text)), default=0)
    cursor.execute(f"PREPARE {name} AS {text}".encode())
    given = f"({', '.join(['NULL'] * many)})" if many else ""
    cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{given}".encode())
    [(found,)] = cursor.fetchall()
    plans = found if isinstance(found, list) else json.loads(found)
    return [
        f"{node['Node Type']} of {node['Relation Name']}"
        for node in nodes(plans[0]["Plan"])
        if node.get("Relation Name") in GROWING
        and "Scan" in node["Node Type"]
        and not {"Index Cond", "Recheck Cond"} & node.keys()
    ]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
