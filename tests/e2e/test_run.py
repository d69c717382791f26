"""`run` and `worker` from outside: results, exit codes, signals."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.command import Outcome, call, outcome, start
from tests.engines import kinds, read_log
from tests.support import wait_until
from tests.world import knows

FLOWS = Path(__file__).parents[1] / "fault" / "flows.py"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def side(tmp_path: Path) -> Path:
    return tmp_path / "side"


def target(name: str) -> str:
    return f"{FLOWS}:{name}"


def lines(side: Path) -> list[str]:
    return side.read_text().splitlines() if side.exists() else []


def test_a_run_prints_its_result_as_one_line(db: Path, side: Path) -> None:
    argv = ("run", target("steps"), json.dumps(str(side)), "4", "--db", db, "--id", "a")

    first, again = call(*argv), call(*argv)

    assert (first.status, first.json) == (again.status, again.json) == (0, 6)
    assert lines(side) == ["a/1 1", "a/2 1", "a/3 1", "a/4 1"]
    assert first.err == ""


REFUSED = [
    # why                       arguments, exit status, code
    ("no JSON",                   ("steps", "tea", "1"),  2, "invalid_input"),
    ("too few",                   ("steps", '"s"'),  2, "invalid_input"),
    ("too many",                  ("steps", '"s"', "1", "0", "9"),  2, "invalid_input"),
    ("another type",              ("steps", '"s"', '"one"'),  2, "invalid_input"),
    ("no such function",          ("stepz",),  2, "function_not_found"),
    ("no workflow",               ("step", '"s"', "1"),  2, "function_not_found"),
    ("an id that is none",        ("steps", '"s"', "0", "--id", "a/b"),  2, "invalid_input"),
    ("no such option",            ("steps", "--speed", "9"),  2, "usage"),
    ("a workflow that fails",     ("fails", '"no tea"'),  13, "execution_failed"),
    ("an activity that fails",    ("pays",),  13, "execution_failed"),
    ("a value nobody can store",  ("returns_nothing_storable",),  13, "execution_failed"),
]  # fmt: skip


def test_a_clock_in_new_code_is_an_error_that_names_the_right_call(
    db: Path, tmp_path: Path
) -> None:
    """Nobody runs this as a test, or in development mode."""
    code = tmp_path / "clocked.py"
    code.write_text(
        "import time\nfrom obelisk_ops import workflow\n\n\n"
        "@workflow\nasync def clocked() -> float:\n    return time.time()\n"
    )

    done = call("run", f"{code}:clocked", "--db", db, "--json")

    assert (done.status, done.error["code"]) == (13, "execution_failed")
    assert "(clocked.py, line 7): use now()" in done.error["message"]


@pytest.mark.parametrize(
    ("argv", "status", "code"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_an_error_is_one_object_and_an_exit_code(
    db: Path, argv: tuple[str, ...], status: int, code: str
) -> None:
    done = call("run", target(argv[0]), *argv[1:], "--db", db, "--json")

    assert (done.status, done.error["code"]) == (status, code)
    assert set(done.error) == {"code", "message", "hint"}
    assert done.out == ""
    assert "Traceback" not in done.err


def test_for_people_an_error_is_two_lines(db: Path) -> None:
    done = call("run", target("steps"), "tea", "1", "--db", db)

    assert done.status == 2
    assert done.err.splitlines() == [
        "error: argument 1 is no JSON: 'tea' (Input data was truncated)",
        """ hint: a text needs its own quotes, as in '"tea"'""",
    ]
    assert not db.exists()


def test_another_input_for_an_id_is_a_conflict(db: Path) -> None:
    call("run", target("fails"), '"a"', "--db", db, "--id", "x")

    done = call("run", target("fails"), '"b"', "--db", db, "--id", "x", "--json")

    assert (done.status, done.error["code"]) == (8, "execution_exists")
    assert '["a",null], not ["b",null]' in done.error["message"]


def test_databases_that_cannot_be_used(db: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE a (b)")
    (tmp_path / "text.db").write_text("notes\n" * 1000)

    def status(where: str | Path) -> tuple[int, str]:
        done = call("run", target("fails"), '"a"', "--db", where, "--json")
        return done.status, done.error["code"]

    assert status(db) == (2, "foreign_database")
    assert status("postgresql://127.0.0.1:1/x") == (6, "storage_unavailable")  # nobody is there
    assert status(tmp_path / "text.db") == (10, "corrupt_database")
    assert status(tmp_path / "no" / "runs.db") == (6, "storage_unavailable")


def test_a_run_that_is_interrupted_goes_on(db: Path, side: Path) -> None:
    argv = ("run", target("steps"), json.dumps(str(side)), "4", "3.0", "--db", db, "--id", "a")

    with start(*argv, "--json") as first:
        wait_until(lambda: pauses(db, "a"), 20, "the pause")
        first.send_signal(signal.SIGINT)
        stopped = outcome(first)
    again = call(*argv)

    assert (stopped.status, stopped.out) == (130, "")
    assert stopped.error["code"] == "interrupted"
    assert stopped.error["hint"].endswith("--id a"), "also where it was drawn"
    assert "Traceback" not in stopped.err
    assert (again.status, again.json) == (0, 6)
    assert lines(side) == ["a/1 1", "a/2 1", "a/3 1", "a/5 1"]  # call 4 is the pause


def pauses(db: Path, execution_id: str) -> bool:
    # Read here: a command to ask with may take as long as the pause.
    return knows(db, execution_id) and "timer_set" in kinds(read_log(db, execution_id))


CHANGED = """
from obelisk_ops import sleep, workflow

@workflow(name="flow")
async def flow(seconds: float) -> str:
    await sleep(seconds{change})
    return "done"
"""


def test_changed_code_parks_and_mended_code_goes_on(db: Path, tmp_path: Path) -> None:
    code = tmp_path / "changing.py"
    argv = ("run", f"{code}:flow", "3", "--db", db, "--id", "a", "--json")
    code.write_text(CHANGED.format(change=""))
    with start(*argv) as first:
        wait_until(lambda: pauses(db, "a"), 20, "the pause")
        first.send_signal(signal.SIGINT)
        first.communicate()
    code.write_text(CHANGED.format(change=" + 1"))

    parked = call(*argv)
    shown = call("execution", "show", "a", "--db", db, "--json")
    asked = call("execution", "result", "a", "--db", db, "--json")
    code.write_text(CHANGED.format(change=""))
    mended = call(*argv)

    assert (parked.status, parked.error["code"]) == (14, "nondeterminism")
    assert "sleep of 3 s, but the code asks for call 1, sleep of 4 s" in parked.error["message"]
    assert shown.json["state"] == "parked"
    assert asked.status == 14
    assert (mended.status, mended.json) == (0, "done")


@contextmanager
def serving(db: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    with start("worker", FLOWS, "--db", db, *more) as process:
        try:
            assert process.stderr is not None
            assert "serving" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[Outcome, float]:
    started = time.monotonic()
    process.send_signal(number)
    return outcome(process), time.monotonic() - started


def submit(db: Path, *argv: str) -> Outcome:
    return call("execution", "submit", target(argv[0]), *argv[1:], "--db", db, "--json")


def test_a_worker_drains_when_it_is_told_to_stop(db: Path, side: Path) -> None:
    with serving(db) as worker:
        asked = submit(db, "slowly", json.dumps(str(side)), "0.8", "--id", "a")
        locked = call("run", target("pays"), "--db", db, "--json")
        wait_until(lambda: lines(side), 10, "the activity starts")
        drained, _ = stop(worker, signal.SIGTERM)
        done = call("execution", "result", "a", "--db", db)

    assert (asked.status, asked.json) == (0, {"execution_id": "a", "created": True})
    assert (locked.status, locked.error["code"]) == (9, "database_locked")
    assert (drained.status, drained.out) == (0, "")
    assert done.json == "slow"


def test_a_worker_does_not_wait_longer_than_it_may(db: Path, side: Path) -> None:
    with serving(db, "--grace", "0.2") as worker:
        submit(db, "slowly", json.dumps(str(side)), "120", "--id", "a")
        wait_until(lambda: lines(side), 10, "the activity starts")
        drained, took = stop(worker, signal.SIGINT)

    shown = call("execution", "show", "a", "--db", db, "--json").json
    assert drained.status == 0
    assert took < 119, "what it does would have taken longer"
    assert shown["attempts"][0]["in_flight"] is True


def test_a_killed_worker_is_followed_at_once(db: Path, side: Path) -> None:
    with serving(db) as worker:
        submit(db, "slowly", json.dumps(str(side)), "3", "--id", "a")
        wait_until(lambda: lines(side), 20, "the activity starts")
        worker.kill()
        worker.wait()
        with serving(db):
            done = call("execution", "result", "a", "--wait", "90", "--db", db)

    assert done.json == "slow"
    assert lines(side) == ["a/1 1", "a/1 2"]
