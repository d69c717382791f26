"""`schedule …` and `execution prune` from outside: beside a worker, and without one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command import call, call_here, outcome, start
from tests.support import wait_until

FLOWS = Path(__file__).parents[1] / "fault" / "flows.py"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    side = json.dumps(str(tmp_path / "side"))
    assert call("run", f"{FLOWS}:steps", side, "1", "--db", path, "--id", "first").status == 0
    return path


def add(db: Path, *options: str, name: str = "nightly") -> Any:
    side = json.dumps(str(db.with_name("side")))
    return call_here(
        "schedule", "add", f"{FLOWS}:steps", side, "1", "--db", db, "--id", name, *options
    )


def ask(db: Path, *argv: str, noun: str = "schedule") -> Any:
    done = call_here(noun, *argv, "--db", db, "--json")
    assert done.status == 0, done.err
    return done.json


def test_a_list_is_read_in_pieces(db: Path) -> None:
    for name in ("a", "b", "c"):
        assert add(db, "--every", "1h", name=name).status == 0

    def listed(*options: str) -> list[str]:
        return [one["schedule_id"] for one in ask(db, "list", *options)["schedules"]]

    assert listed("--limit", "2") == ["a", "b"]
    assert listed("--after", "a", "--limit", "1") == ["b"]
    assert listed("--function", "flows.steps", "--after", "b") == ["c"]
    assert listed("--function", "flows.other") == []


def test_a_schedule_from_its_beginning_to_its_end(db: Path) -> None:
    berlin = ("--cron", "0 3 * * *", "--timezone", "Europe/Berlin", "--catch-up", "2h")
    assert add(db, *berlin, "--json").json == {"schedule_id": "nightly", "changed": True}
    assert add(db, *berlin, "--json").json == {"schedule_id": "nightly", "changed": False}
    other = add(db, "--every", "15m", "--json")
    assert (other.status, other.error["code"]) == (8, "schedule_exists")
    six = add(db, "--cron", "0 0 3 * * *", "--json")
    assert (six.status, six.error["code"]) == (2, "invalid_input")
    assert add(db, "--every", "1 hour").status == 2

    [listed] = ask(db, "list")["schedules"]
    shown = ask(db, "show", "nightly")
    assert listed.items() <= shown.items()
    assert set(shown) - set(listed) == {"input", "waiting_at", "last_execution_id", "next"}
    assert (listed["function"], listed["cron"], listed["every"]) == (
        "flows.steps", "0 3 * * *", None,
    )  # fmt: skip
    assert (listed["catch_up"], listed["overlap"], listed["made"]) == ("2h", "skip", 0)
    coming = ask(db, "next", "nightly", "--limit", "2")["next"]
    assert [at[10:] for at in coming] in (["T01:00:00.000Z"] * 2, ["T02:00:00.000Z"] * 2)
    assert coming[0] == listed["next_at"]

    assert ask(db, "pause", "nightly")["changed"] is True
    assert ask(db, "pause", "nightly")["changed"] is False
    assert ask(db, "show", "nightly")["next_at"] is None
    assert ask(db, "unpause", "nightly")["changed"] is True
    assert ask(db, "delete", "nightly")["changed"] is True
    gone = call("schedule", "show", "nightly", "--db", db, "--json")
    assert (gone.status, gone.error["code"]) == (7, "schedule_not_found")
    assert ask(db, "list") == {"schedules": []}


def test_a_worker_makes_the_slots_and_is_asked_for_more(db: Path) -> None:
    assert add(db, "--every", "1s", name="tick").status == 0
    with start("worker", FLOWS, "--db", db) as worker:
        wait_until(lambda: ask(db, "show", "tick")["made"] >= 2, 20, "two slots are made")
        assert ask(db, "pause", "tick")["changed"] is True
        triggered = ask(db, "trigger", "tick")["execution_id"]
        done = call("execution", "result", triggered, "--db", db, "--wait", "90")
        assert (done.status, done.json) == (0, 0)

        pruned = ask(db, "prune", "--older-than", "0s", "--apply", noun="execution")
        assert (pruned["applied"], pruned["executions"] >= 2) == (True, True)
        worker.send_signal(signal.SIGTERM)
        assert outcome(worker).status == 0

    left = ask(db, "list", noun="execution")["executions"]
    assert [row["execution_id"] for row in left] == [triggered]  # the newest of its schedule
    assert pruned["kept"] == {"newest of a schedule": len(left)}


def test_pruning_says_what_it_would_do(db: Path) -> None:
    told = call("execution", "prune", "--db", db, "--older-than", "0s")
    assert told.status == 0
    assert "flows.steps  ok      1" in told.out
    assert "1 execution would go; do it with --apply" in told.err
    assert ask(db, "prune", noun="execution")["executions"] == 0
    wrong = call("execution", "prune", "--db", db, "--state", "parked")
    assert wrong.status == 2

    shape = ask(db, "prune", "--older-than", "0s", "--apply", noun="execution")

    assert (shape["applied"], shape["executions"], shape["kept"]) == (True, 1, {})
    [group] = shape["groups"]
    assert set(group) == {
        "function", "result", "executions", "events", "bytes", "oldest", "newest",
    }  # fmt: skip
    assert ask(db, "list", noun="execution") == {"executions": []}
