"""
Claims by many workers at the same time: their own statements, sent by PostgreSQL's ``pgbench``.

So it is the server that is measured, its locks and its plans, and not what Python makes of 64
clients on two cores.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks.children import Failed
from obelisk_ops.storage.postgres.session import QUERIES
from tests.postgres import PostgresServer

#: ids of the workers that claim, behind those of real ones
_FIRST = 1000
_WORKER = f"{_FIRST} + :client_id::bigint"
#: as ``settle_in`` has it
_OPTIONS = (
    "-c search_path={} -c jit=off -c enable_seqscan=off -c enable_hashjoin=off"
    " -c enable_mergejoin=off -c enable_bitmapscan=off"
)
_SERVED = "'{bench.wait}'"
_MAKE_WORKERS = """
INSERT INTO worker (id, term, writer, commits, lease_until, is_closed, is_empty, is_keeper,
                    functions, host, pid, knows, is_pooled)
SELECT {first} + n, 1, 1, 0, now() + '1 hour', FALSE, TRUE, FALSE, '{{bench.wait}}', '', 0, 1,
       FALSE
FROM generate_series(0, {many} - 1) AS n ON CONFLICT DO NOTHING;
"""
_MAKE_OWNERS = """
INSERT INTO state (key, id, function, state, created_at, worker)
SELECT n, 'claimed-' || n, 'bench.waits', 'blocked', n, {first} + n % {workers}
FROM generate_series(1, {many}) AS n ON CONFLICT DO NOTHING;
"""
_MAKE_LETTERS = """
INSERT INTO mailbox (id, at, kind, target, body, chain, function)
SELECT n, n, 'create', 'made-' || n, '{{}}', 'made-' || n, 'bench.wait'
FROM generate_series(1, {many}) AS n;
"""
_MAKE_TASKS = """
INSERT INTO task (execution, n, attempt, id, function, manner, input, queue, priority)
SELECT n, 1, 1, 'claimed-' || n, 'bench.wait', '{{}}', '[1]', 'default', 0
FROM generate_series(1, {many}) AS n;
"""


def _statement(name: str, *values: str) -> str:
    """Return a statement of workers as ``pgbench`` reads it."""
    text = re.sub(r"\$(\d)", lambda found: f"({values[int(found[1]) - 1]})", QUERIES[name])
    return text.rstrip().rstrip(";") + ";\n"


#: what a worker asks for one task
TASKS = _statement("claim_tasks", "'default'", _SERVED, "1", _WORKER)
_DONE = "jsonb_build_array(jsonb_build_array(:execution::bigint, 1, 1, '{}'))"
#: and that it answers
ANSWERED = (
    TASKS.replace(";\n", "\n\\gset\n")
    + _statement("finish_tasks", _WORKER, _DONE, "'[]'", "'none'", _SERVED, "0")
    + _statement("tell_owners", "'[1]'", "'told'")
)
#: what it asks for one execution to make, and that it has made it
LETTERS = "".join((
    _statement("own_letters", _WORKER, "FALSE", _SERVED, "500"),
    _statement("claim_letters", _WORKER, "FALSE", "1", _SERVED, "1"),
    "DELETE FROM mailbox WHERE worker = ", _WORKER, ";\n",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """
    How claims were made.

    Attributes:
        per_s: How many a second.
        longest_wait_ms: The longest seen wait of anybody for a lock.
        idle: Which part of the processors had nothing to do, 0 to 1: who queues up for a lock
            leaves them so, and who has too much to do does not.
    """

    per_s: float
    longest_wait_ms: float
    idle: float


def make(server: PostgresServer, schema: str, script: str, clients: int, many: int) -> Made:
    """Let so many clients claim at the same time, as much as there is, and see how they do."""
    _prepare(server, schema, clients, many)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        argv: list[str | Path] = [
            server.programs / "bin/pgbench",
            "--no-vacuum",
            "-M",
            "prepared",
        ]
        argv += ["-c", str(clients), "-j", str(min(clients, 2)), "-t", str(many // clients)]
        with _longest_wait(server.base_url) as looks:
            psutil.cpu_times_percent()
            done = subprocess.run(
                [*argv, "-f", file.name, server.base_url], capture_output=True, text=True,
                env=os.environ | {"PGOPTIONS": _OPTIONS.format(schema)}, check=False,
            )  # fmt: skip
            idle = psutil.cpu_times_percent().idle / 100
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise Failed(f"pgbench: {done.stderr.strip().splitlines()[-1:]}")
    return Made(per_s=float(found[1]), longest_wait_ms=max(looks, default=0.0), idle=idle)


def _prepare(server: PostgresServer, schema: str, clients: int, claims: int) -> None:
    """Let there be as much to claim as will be claimed, and some more."""
    made = claims + 20 * clients
    with psycopg.connect(server.base_url, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {schema}".encode())
        connection.execute(b"TRUNCATE task, mailbox")
        for statement, many in (
            (_MAKE_WORKERS, clients), (_MAKE_OWNERS, made), (_MAKE_TASKS, made),
            (_MAKE_LETTERS, made),
        ):  # fmt: skip
            given = statement.format(first=_FIRST, many=many, workers=clients)
            connection.execute(given.encode())


@contextmanager
def _longest_wait(base_url: str, every_s: float = 0.01) -> Iterator[list[float]]:
    """Note in a list for how many milliseconds anybody has waited for a lock, at each look."""
    looks: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        with psycopg.connect(base_url, autocommit=True) as connection:
            while not is_over.wait(every_s):
                looks.append(float(connection.execute(_LONGEST).fetchall()[0][0]))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield looks
    finally:
        is_over.set()
        looking.join()


_LONGEST = b"""
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)) * 1000, 0)
FROM pg_locks WHERE NOT granted
"""
