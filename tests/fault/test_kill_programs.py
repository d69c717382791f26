"""
Random programs in a process that is killed at random moments answer as the model does.

OBELISK_OPS_TEST_SEED repeats a run; the seed of each run is printed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk_ops.core import failures
from obelisk_ops.core.events import Event, Finished
from obelisk_ops.core.history import history_of
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.storage import is_missing, open_store
from obelisk_ops.testing import replay
from tests import model
from tests.databases import Database, Databases, as_typed
from tests.engines import the_tables_fit_the_logs
from tests.fault.test_kill import seed
from tests.grammar import random_program
from tests.programs import FLOWS, Program

ROOT = Path(__file__).parents[2]
PER_BATCH = 40
KILLS = 5


def run_batch(databases: Databases, folder: Path, number: int) -> None:
    draws = random.Random(number)
    programs = {f"p{n}": random_program(draws) for n in range(PER_BATCH)}
    for program in list(programs.values())[::4]:
        program.insert(0, ["receive"])
    database, listed = databases.fresh(folder, "batch.db"), folder / "programs.json"
    listed.write_text(json.dumps(programs))
    for _ in range(KILLS):
        live(database, listed, kill_after_s=draws.uniform(0.1, 1.2))
        if not is_missing(database):
            check_tables(database)
    live(database, listed, kill_after_s=None)
    check_tables(database)
    check_answers(database, programs)


def live(database: Database, listed: Path, *, kill_after_s: float | None) -> None:
    argv = [sys.executable, "-m", "tests.fault.batch", as_typed(database), str(listed)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            worker.kill()
        _, errors = worker.communicate(timeout=180)
    if worker.returncode not in ((0, -9) if kill_after_s is not None else (0,)):
        pytest.fail(f"the worker ended with {worker.returncode}: {errors}")


def check_tables(database: Database) -> None:
    with closing(open_store(database)) as store:
        the_tables_fit_the_logs(store)


def check_answers(database: Database, programs: dict[str, Program]) -> None:
    known = {flow.name: flow for flow in FLOWS}
    with closing(open_store(database)) as store:
        answers = {}
        for row in store.executions(ExecutionFilter(limit=100_000)):
            log = store.log(row.key)
            answers[row.id] = answer(log)
            history = history_of(row.id, log, store.inbox(row.key))
            assert replay(history, known[row.function]).has_finished
    for name, program in programs.items():
        model.check_answers(answers, name, program)


def answer(log: list[Event]) -> Any:
    body = msgspec.json.decode(log[-1].body, type=Finished)
    if body.error:
        return failures.rebuild(body.error)
    return msgspec.json.decode(body.ok) if body.ok else None


@pytest.mark.slow_on_a_server
def test_a_batch(databases: Databases, tmp_path: Path) -> None:
    number = seed()
    print(f"OBELISK_OPS_TEST_SEED={number}")  # noqa: T201 - to repeat a failure
    run_batch(databases, tmp_path, number)


@pytest.mark.chaos
@pytest.mark.parametrize("batch", range(25))
def test_a_thousand_programs(databases: Databases, tmp_path: Path, batch: int) -> None:
    number = seed() + batch
    print(f"OBELISK_OPS_TEST_SEED={number - batch}")  # noqa: T201 - to repeat a failure
    run_batch(databases, tmp_path, number)
