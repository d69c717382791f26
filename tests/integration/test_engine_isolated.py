"""``isolation="process"``: what an attempt does in a child process, and how that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from obelisk_ops import ActivityTimedOut, Engine, ExecutionFailed, activity, run
from obelisk_ops.errors import InvalidInput
from obelisk_ops.storage import open_reader
from tests import isolated
from tests.command import environment
from tests.support import PATIENCE_S, runs, wait_until


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def outputs(db: Path, execution_id: str) -> list[tuple[str, str]]:
    with closing(open_reader(db)) as reader:
        row = reader.find(execution_id)
        assert row is not None
        return [(piece.stream, piece.text) for piece in reader.outputs(row.key)]


def test_it_runs_elsewhere_and_knows_what_it_is(
    db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, Any] = run(isolated.ask_who, "tea ü", db=db, id="w")

    assert said.pop("pid") != os.getpid()
    assert said == {"key": "w/1", "attempt": 1, "before": None}
    assert sorted(outputs(db, "w")) == [("stderr", "err tea ü\n"), ("stdout", "out tea ü\n")]
    assert capsys.readouterr() == ("out tea ü\n", "err tea ü\n")


def test_its_errors_and_heartbeats_come_back(db: Path) -> None:
    with pytest.raises(ExecutionFailed, match=r"Odd: no: \[1\]") as caught:
        run(isolated.ask_fails, "no", db=db)

    assert isinstance(caught.value.__cause__, isolated.Odd)


def test_it_is_killed_with_all_it_started_when_it_takes_too_long(
    db: Path, tmp_path: Path
) -> None:
    side = tmp_path / "pid"

    for limit_s in (1.5, 10.0, 60.0):  # a busy machine may not have begun it by then
        with pytest.raises(ExecutionFailed) as caught:
            run(isolated.ask_hangs, str(side), limit_s, db=db)
        assert isinstance(caught.value.__cause__, ActivityTimedOut)
        if side.exists() and side.read_text():
            break

    assert gone(int(side.read_text()))


def test_it_is_killed_when_the_engine_is_left(db: Path, tmp_path: Path) -> None:
    side = tmp_path / "pid"

    async def leave() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(isolated.ask_hangs, str(side), id="h")
            async with asyncio.timeout(PATIENCE_S):
                while not side.exists() or not side.read_text():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    asyncio.run(leave())

    assert gone(int(side.read_text()))
    with closing(open_reader(db)) as reader:
        row = reader.find("h")
        assert row is not None
        assert [event.kind for event in reader.log(row.key)] == ["created", "intended"]


@pytest.mark.parametrize(
    ("once", "error"), [(False, "ActivityFailed"), (True, "OutcomeUnknown")]
)
def test_a_child_that_dies_fails_the_attempt(db: Path, once: bool, error: str) -> None:  # noqa: FBT001
    with pytest.raises(ExecutionFailed, match="killed was killed by SIGKILL") as caught:
        run(isolated.ask_killed, once=once, db=db)

    assert caught.value.error_type == f"obelisk_ops.errors.{error}"


def test_a_function_that_a_child_could_not_find_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="needs a function at the top of a module"):

        @activity(isolation="process")
        def local() -> None: ...


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def gone(pid: int) -> bool:
    """Tell whether no process of this group is left."""

    def left() -> list[int]:
        return [
            process.pid
            for process in psutil.process_iter()
            if runs(process) and group_of(process.pid) == pid
        ]

    return wait_until(lambda: not left(), 5, "no process of the group is left")


def test_a_script_without_a_guard_is_told_instead_of_starting_itself_for_ever(
    tmp_path: Path,
) -> None:
    """The child loads the script; were its engine let start, it would have a child as well."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import tempfile\n"
        "from obelisk_ops import Retry, activity, run, workflow\n\n"
        "@activity(isolation='process', retry=Retry(max_attempts=1))\n"
        "def act() -> int:\n    return 1\n\n"
        "@workflow\nasync def flow() -> int:\n    return await act()\n\n"
        "run(flow, db=tempfile.mkdtemp() + '/runs.db')\n"
    )

    done = subprocess.run(
        [sys.executable, script], env=environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert f"{script} starts an engine while it is loaded" in done.stderr
    assert "below: if __name__ == '__main__':" in done.stderr
