"""Activities that take their process down, for real: again, never again, or parked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import bodies, kinds, read_log

SCRIPT = Path(__file__).with_name("crashing.py")


class Worker:
    def __init__(self, folder: Path) -> None:
        self.database = folder / "runs.db"
        self.side = folder / "side"

    def live(self, workflow: str, max_crashes: int = 3) -> str | None:
        """Return what it printed; None when it was killed."""
        done = subprocess.run(
            [sys.executable, SCRIPT, self.database, self.side, workflow, str(max_crashes)],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        if done.returncode == -9:
            return None
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def attempts(self) -> list[str]:
        return self.side.read_text().splitlines()


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


@pytest.mark.behaviour("P05")
def test_a_call_that_ends_its_process_again_and_again_is_parked(worker: Worker) -> None:
    lives = [worker.live("loops") for _ in range(4)]

    assert lives[:3] == [None, None, None]
    code, message, hint = (lives[3] or "").split("|")
    assert code == "crash_loop"
    assert "call 'loops/1' of crashing.deadly: the process ended during 3 of its" in message
    assert "max_crashes" in hint
    assert worker.attempts() == ["deadly 1", "deadly 2", "deadly 3"]
    log = read_log(worker.database, "loops")
    assert kinds(log)[-1] == "parked"
    assert [body.get("crashes") for body in bodies(log, "attempt_started")] == [1, 2]

    # It stays parked, others go on, and more patience takes it up again.
    assert (worker.live("loops") or "").startswith("crash_loop|")
    assert kinds(read_log(worker.database, "loops")) == kinds(log)
    assert worker.live("bystander") == "fine"
    assert worker.attempts() == ["deadly 1", "deadly 2", "deadly 3"]
    assert worker.live("loops", 4) is None
    assert worker.attempts()[3:] == ["deadly 4"]
    assert (worker.live("loops", 4) or "").startswith("crash_loop|")


def test_at_most_once_is_never_run_again(worker: Worker) -> None:
    assert worker.live("once") is None
    assert worker.live("once") == "fine: outcome_unknown"
    assert worker.attempts() == ["deadly_once 1"]

    log = read_log(worker.database, "once")
    [unknown, _] = bodies(log, "returned")
    assert unknown["error"]["type"] == "obelisk_ops.errors.OutcomeUnknown"
    assert "'once/1'" in unknown["error"]["hint"]
    assert "the process ended during attempt 1" in unknown["error"]["message"]
    assert [body["try"] for body in bodies(log, "attempt_started")] == [1]
    assert worker.live("once") == "fine: outcome_unknown"
