"""`execution …` from outside: the shapes that scripts rely on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.command import call, call_here

FLOWS = Path(__file__).parents[1] / "fault" / "flows.py"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SUMMARY = {
    "execution_id", "function", "state", "result", "created_at", "finished_at", "parent_id",
    "error",
}  # fmt: skip


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an execution that went well, two that failed, and one that waits."""
    folder = tmp_path_factory.mktemp("execution")
    path = folder / "runs.db"
    side = json.dumps(str(folder / "side"))
    for name, *argv in (
        ("good", "steps", side, "2"),
        ("bad", "fails", '"no tea"'),
        ("declined", "pays"),
    ):
        call("run", f"{FLOWS}:{argv[0]}", *argv[1:], "--db", path, "--id", name)
    asked = call("execution", "submit", f"{FLOWS}:pays", "--db", path, "--id", "waits")
    assert (asked.status, asked.json) == (0, {"execution_id": "waits", "created": True})
    return path


def ask(db: Path, *argv: str) -> Any:
    done = call_here("execution", *argv, "--db", db, "--json")
    assert done.status == 0, done.err
    return done.json


def test_a_list_has_the_fields_that_were_promised(db: Path) -> None:
    listed = ask(db, "list")["executions"]

    assert [e["execution_id"] for e in listed] == ["good", "bad", "declined", "waits"]
    assert all(set(e) == SUMMARY for e in listed)
    assert all(INSTANT.fullmatch(e["created_at"]) for e in listed)
    good, bad, declined, waits = listed
    assert (good["state"], good["result"], good["error"]) == ("finished", "ok", None)
    assert (bad["result"], bad["error"]) == ("error", "LookupError: no tea")
    assert declined["function"] == "flows.pays"
    assert (waits["state"], waits["function"]) == ("pending", "flows.pays")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("--limit", "1"), ["good"]),
        (("--after", "good", "--limit", "1"), ["bad"]),
        (("--function", "flows.pays"), ["declined", "waits"]),
        (("--error", "TEA"), ["bad"]),
        (("--state", "parked"), []),
        (("--state", "pending"), ["waits"]),
        (("--after", "declined"), ["waits"]),
        (("--after", "waits"), []),
        (("--since", "1h ago"), ["good", "bad", "declined", "waits"]),
    ],
)
def test_a_list_is_filtered(db: Path, filters: tuple[str, ...], found: list[str]) -> None:
    assert [e["execution_id"] for e in ask(db, "list", *filters)["executions"]] == found


def test_an_execution_is_shown(db: Path) -> None:
    good, bad, declined = (ask(db, "show", name) for name in ("good", "bad", "declined"))

    assert set(good) == SUMMARY | {
        "input", "value", "attempts", "waiting_for", "forked_from", "continues", "continued_as",
        "safe_version",
        "schedule_id",
    }  # fmt: skip
    assert (good["input"][1:], good["value"], good["waiting_for"]) == ([2, 0.0], 1, [])
    assert [(a["n"], a["attempts"], a["outcome"]) for a in good["attempts"]] == [
        (1, 1, "ok"), (2, 1, "ok"),
    ]  # fmt: skip
    assert (bad["value"], bad["attempts"]) == (None, [])
    assert declined["attempts"][0]["error"] == "ValueError: card declined"


def test_one_that_was_not_begun_is_shown(db: Path) -> None:
    shown, log = ask(db, "show", "waits"), ask(db, "events", "waits")
    [unowned, unbegun] = ask(db, "why", "waits")["reasons"]

    assert (shown["state"], shown["input"], shown["attempts"]) == ("pending", [], [])
    assert [e["kind"] for e in log["events"]] == ["created"]
    assert (unowned["kind"], unbegun["kind"]) == ("unowned", "unbegun")
    assert "obelisk-ops worker" in unowned["command"]


def test_its_events_are_printed(db: Path) -> None:
    shown = ask(db, "events", "good")

    assert shown["execution_id"] == "good"
    assert [e["version"] for e in shown["events"]] == list(range(6))
    assert [e["kind"] for e in shown["events"]] == [
        "created", "intended", "returned", "intended", "returned", "finished",
    ]  # fmt: skip
    assert all(INSTANT.fullmatch(e["at"]) for e in shown["events"])
    page = ask(db, "events", "good", "--after", "1", "--limit", "2")
    assert [e["version"] for e in page["events"]] == [2, 3]


@pytest.mark.parametrize(
    ("argv", "status", "code"),
    [
        (("result", "bad"), 13, "execution_failed"),
        (("result", "waits"), 4, "not_finished"),
        (("result", "waits", "--wait", "0.1"), 4, "not_finished"),
        (("result", "nobody"), 7, "execution_not_found"),
        (("show", "nobody"), 7, "execution_not_found"),
        (("events", "nobody"), 7, "execution_not_found"),
        (("list", "--since", "yesterday"), 2, "invalid_when"),
        (("list", "--after", "nobody"), 7, "execution_not_found"),
        (("list", "--state", "tired"), 2, "usage"),
        (("submit", f"{FLOWS}:fails", '"b"', "--id", "bad"), 8, "execution_exists"),
        (("submit", f"{FLOWS}:fails", "b"), 2, "invalid_input"),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, tuple) else None,
)
def test_what_cannot_be_answered(
    db: Path, argv: tuple[str, ...], status: int, code: str
) -> None:
    done = call_here("execution", *argv, "--db", db, "--json")

    assert (done.status, done.error["code"]) == (status, code)
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_result_is_one_line_of_json(db: Path) -> None:
    assert call("execution", "result", "good", "--db", db).out == "1\n"
    assert call("execution", "result", "good", "--wait", "0", "--db", db).json == 1


def test_for_people_there_are_tables(db: Path) -> None:
    listed = call("execution", "list", "--db", db).out.splitlines()
    shown = call("execution", "show", "declined", "--db", db).out

    assert listed[0].split() == [
        "ID", "FUNCTION", "STATE", "RESULT", "CREATED", "FINISHED", "ERROR",
    ]  # fmt: skip
    assert "LookupError: no tea" in listed[2]
    assert "card declined" in shown


def test_a_database_that_is_not_there_stays_so(tmp_path: Path) -> None:
    """Whoever asks for what exists makes nothing; only a first submit does."""
    for argv in (("list",), ("show", "a"), ("cancel", "a")):
        done = call("execution", *argv, "--db", tmp_path / "none.db", "--json")

        assert done.status in (6, 7)
        assert list(tmp_path.iterdir()) == []


def test_reading_leaves_no_trace(db: Path) -> None:
    before = {path.name: path.read_bytes() for path in db.parent.iterdir() if path.is_file()}

    for command in (("list",), ("show", "good"), ("events", "good"), ("result", "good")):
        assert call("execution", *command, "--db", db).status == 0

    assert {p.name: p.read_bytes() for p in db.parent.iterdir() if p.is_file()} == before
