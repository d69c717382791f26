"""
SIGKILL at random moments: no log line of workflow code is there twice, or too early.

OBELISK_OPS_TEST_SEED repeats a run; the seed of each run is printed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines import bodies, read_log

SCRIPT = Path(__file__).with_name("diary.py")
COUNT = 400
KILLS_MAX = 8


def lives(database: Path, lines: Path, kill_after_s: float | None) -> bool:
    """Run the worker, and kill it if it has not ended by then; return whether it has."""
    argv = [sys.executable, str(SCRIPT), str(database), str(lines), str(COUNT)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            worker.kill()
        _, errors = worker.communicate(timeout=180)
    assert worker.returncode in (0, -9), errors
    return worker.returncode == 0


def written(lines: Path) -> list[str]:
    text = lines.read_text() if lines.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def check(database: Path, lines: Path) -> None:
    found = written(lines)
    assert len(found) == len(set(found)), "a line was written again"
    told = [int(line.removeprefix("d told ")) for line in found if "told" in line]
    assert told == sorted(told)
    if told:
        log = read_log(database, "d")
        known = len(bodies(log, "returned")) + len(bodies(log, "timer_fired"))
        assert known >= told[-1], "a line tells of what is not on record"


@pytest.mark.behaviour("P20")
def test_no_line_is_written_twice_or_too_early(tmp_path: Path) -> None:
    seed = int(os.environ.get("OBELISK_OPS_TEST_SEED") or random.randrange(2**32))
    print(f"seed {seed}")  # noqa: T201 - a failure shows it
    chance = random.Random(seed)
    database, lines = tmp_path / "d.db", tmp_path / "lines.txt"

    kills = 0  # at most; how often it is killed depends on the machine
    while kills < KILLS_MAX and not lives(database, lines, chance.uniform(0.0, 0.15)):
        kills += 1
        check(database, lines)
    assert lives(database, lines, None)

    check(database, lines)
    # Each kill costs one line at most: the one of the commit that it followed.
    assert len(written(lines)) >= COUNT + 1 - kills
