"""What goes to stdout and what to stderr, and a stdout that takes nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.command import PROGRAM, call, environment

FLOW = """
import subprocess
from obelisk_ops import activity, workflow
print("imported")

@activity
def double(n: int) -> int:
    print("doubling", n)
    subprocess.run(["echo", "from a child"], check=True)
    return 2 * n

@workflow
async def flow(n: int) -> int:
    print("running")
    return await double(n)
"""


def test_on_stdout_of_a_run_stands_the_result_alone(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)

    done = call("run", "flow.py:flow", "3", "--db", "x.db", "--id", "a", cwd=tmp_path)
    kept = call("execution", "output", "a", "--db", "x.db", "--json", cwd=tmp_path)

    assert (done.status, done.out) == (0, "6\n")
    for said in ("imported", "running", "doubling 3", "from a child"):
        assert said in done.err.splitlines()
    assert "doubling 3" in json.dumps(kept.json)


@pytest.mark.parametrize(
    ("command", "status"), [(["--help"], 6), (["config", "show", "--json"], 3)]
)
def test_a_full_disk_behind_stdout_is_one_error(command: list[str], status: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=environment(), cwd="/",
        )  # fmt: skip

    assert done.returncode == status
    if status == 6:
        assert done.stderr.splitlines() == [
            "error: stdout cannot be written: No space left on device",
            " hint: free some space there, or send the output elsewhere",
        ]


def test_who_has_read_enough_is_not_complained_about() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [PROGRAM, "completion", "bash"], stdout=writing, stderr=subprocess.PIPE, text=True,
        check=False, env=environment(),
    )  # fmt: skip
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, "")


def test_a_stdout_that_is_closed_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    commands = ("run flow.py:flow 3 --db x.db --id a", "execution list --db x.db", "--version")
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", f"{PROGRAM} {command} >&-"], stderr=subprocess.PIPE, text=True,
            check=False, env=environment(), cwd=tmp_path,
        )  # fmt: skip

        assert done.returncode == 6, done.stderr
        assert "error: stdout cannot be written: Bad file descriptor" in done.stderr


def test_who_closes_stderr_has_the_status(tmp_path: Path) -> None:
    for command, status in (("inspect none.db", 7), ("--version", 0)):
        done = subprocess.run(
            ["sh", "-c", f"{PROGRAM} {command} 2>&-"], check=False, env=environment(),
            cwd=tmp_path,
        )  # fmt: skip

        assert done.returncode == status
