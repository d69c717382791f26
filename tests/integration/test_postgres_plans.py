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

_MANY = """
INSERT INTO worker (id, term, writer, commits, lease_until, is_closed, is_empty, is_keeper,
                    functions, host, pid, knows, is_pooled)
VALUES (900, 1, 1, 0, now() + '1 hour', FALSE, TRUE, FALSE, '{f}', '', 0, 1, FALSE);
INSERT INTO task (execution, n, attempt, id, function, manner, input, queue, priority)
SELECT n, 1, 1, n, 'a', '{}', '[]', 'default', 0 FROM generate_series(1001, 7000) AS n;
INSERT INTO mailbox (id, at, kind, target, body, chain, function)
SELECT n, n, 'create', n, '{}', n, 'f' FROM generate_series(1001, 7000) AS n;
"""
GIVEN = {
    "own_letters": "(900, FALSE, '{f}', 500)",
    "claim_letters": "(900, FALSE, 1, '{f}', 1)",
    "claim_tasks": "('default', '{a}', 1, 900)",
    "finish_tasks": "(900, '[]', '[]', 'default', '{a}', 1)",
}


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


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("name", GIVEN)
def test_who_claims_one_of_many_does_not_look_at_all(
    cursor: psycopg.RawCursor[Any], name: str, mode: str
) -> None:
    """The server believes that there are none, or sixty; there are six thousand."""
    cursor.execute(f"SET plan_cache_mode TO force_{mode}_plan".encode())
    prepare(cursor, name, QUERIES[name])
    for statement in _MANY.split(";\n")[:-1]:
        cursor.execute(statement.encode())
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name}{GIVEN[name]}".encode())
    [(found,)] = cursor.fetchall()
    seen = [node for node in nodes(found[0]["Plan"]) if "Relation Name" in node]
    looked_at = {node["Relation Name"]: most_of(node) for node in seen}
    assert looked_at.keys() >= {"mailbox" if "letters" in name else "task"}
    assert max(looked_at.values()) <= 2, looked_at


def most_of(node: dict[str, Any]) -> float:
    """Return how many rows a part of a plan has read, those included that it did not want."""
    return float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))


def read_through(cursor: psycopg.RawCursor[Any], name: str, text: str) -> list[str]:
    """Return which of the growing tables a statement reads from their beginning."""
    if not re.match(r"SELECT|INSERT|UPDATE|DELETE|WITH", text):
        return []  # the others have no plans
    many = prepare(cursor, name, text)
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


def prepare(cursor: psycopg.RawCursor[Any], name: str, text: str) -> int:
    """Prepare a statement; return how many values it is given."""
    cursor.execute(f"PREPARE {name} AS {text}".encode())
    return max(map(int, re.findall(r"\$(\d+)", text)), default=0)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
