"""What docker/compose.yaml starts on PostgreSQL, as bare processes: the same command lines."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql

from obelisk_ops.storage.postgres import place
from tests import command
from tests.commands import run_here
from tests.postgres import Postgres
from tests.schemas import Schema
from tests.support import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
URL = "postgresql://lab@postgres/lab"
#: of the processes that own an execution, or have claimed a task
_TOOK_PART = """
SELECT pid FROM witness JOIN worker ON worker.id = (came->>'worker')::bigint
WHERE relation = 'state'
UNION
SELECT pid FROM witness JOIN claimer ON claimer.id = (came->>'worker')::bigint
WHERE relation = 'task'
"""


def line(service: str, url: str) -> list[str]:
    """Return what a service runs, with another address for its server."""
    [entrypoint, program] = SERVICES[service]["entrypoint"]
    assert program == command.PROGRAM.name
    words = [url if word == URL else word for word in SERVICES[service]["command"]]
    return ["sh", f"{ROOT}/docker/{entrypoint}.sh", str(command.PROGRAM), *words]


@contextmanager
def serving(url: str, *services: str) -> Iterator[list[int]]:
    """Run workers, and end them as Compose does; their processes."""
    workers = [
        subprocess.Popen(
            line(service, url), cwd=ROOT, env=command.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for service in services
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stderr is not None
            assert "serving" in (said := worker.stderr.readline()), said + worker.stderr.read()
        yield [worker.pid for worker in workers]
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        ended = [command.outcome(worker) for worker in workers]
    assert [(one.status, one.err) for one in ended] == [(0, "stopping\n")] * len(services)


def asked(url: str, *words: str) -> Any:
    ran = run_here(*words, "--db", url)
    assert ran.status == 0, ran.err
    return json.loads(ran.out)


def test_workers_and_hands_share_the_example(postgres: Postgres) -> None:
    url = postgres.fresh_url()
    made = subprocess.run(
        line("pg-tables", url), cwd=ROOT, env=command.environment(), text=True,
        capture_output=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert made.stdout.endswith(": made its tables\n")
    schema = postgres.schema(place.read(url))
    schema.make()  # who writes what is witnessed from here on

    with serving(url, "pg-worker", "pg-worker", "pg-hands") as everybody:
        wait_until(lambda: took_part(schema, url) >= {*everybody}, 120, "all take part")


def took_part(schema: Schema, url: str) -> set[int]:
    """Have one more estimate made; return which processes have done something by now."""
    name = asked(url, "execution", "submit", "examples/scale_out.py:estimate", "12")
    told = asked(url, "execution", "result", name["execution_id"], "--wait", "60")
    assert told == pytest.approx(3.14, abs=0.02)
    return {pid for (pid,) in schema.run(sql.SQL(_TOOK_PART))}
