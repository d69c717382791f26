"""Commands on executions, beside a worker of another process and without one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from obelisk_ops.cli import main
from obelisk_ops.process import boot_id
from obelisk_ops.storage.sqlite.beside import folder
from tests.commands import Ran, run_here
from tests.support import wait_until

CODE = Path(__file__).with_name("operated.py")
WORKER = "from obelisk_ops.cli import main; main()"
REACTS_MS = 100
Ask = Callable[..., Any]


class Commands:
    """``execution …`` on one database, in this process."""

    def __init__(self, db: Path) -> None:
        self.db = db

    def run(self, *argv: str | Path, json: bool = True) -> Ran:
        more = ("--json",) if json else ()
        return run_here("execution", *argv, "--db", self.db, *more)

    def __call__(self, *argv: str | Path) -> Any:
        return self.run(*argv).told

    def state(self, name: str) -> str:
        return str(self("show", name)["state"])

    def kinds(self, name: str) -> list[str]:
        return [event["kind"] for event in self("events", name)["events"]]

    def why(self, name: str) -> list[str]:
        return [reason["kind"] for reason in self("why", name)["reasons"]]

    def submit(
        self, function: str, *values: object, name: str, more: tuple[str, ...] = ()
    ) -> Any:
        given = [json.dumps(value) for value in values]
        return self("submit", f"{CODE}:{function}", *given, "--id", name, *more)


@contextmanager
def worker(db: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, "worker", str(CODE), "--db", str(db)],
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "serving" in process.stderr.readline()
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=180)


@pytest.fixture
def ops(tmp_path: Path) -> Commands:
    commands = Commands(tmp_path / "runs.db")
    with pytest.raises(SystemExit):
        main(["run", f"{CODE}:adds", "3", "--db", str(commands.db), "--id", "done"])
    return commands


@pytest.fixture
def beside(ops: Commands) -> Iterator[Commands]:
    """The same, while a worker serves the database."""
    with worker(ops.db):
        yield ops


def until_it_waits(ops: Commands, name: str, kind: str) -> None:
    wait_until(lambda: kind in ops.why(name), 10, f"{name} waits for a {kind}")


# -- beside a worker ---------------------------------------------------------------------


def test_a_signal_is_received(beside: Commands) -> None:
    beside.submit("approved", name="a")
    until_it_waits(beside, "a", "signal")

    sent = beside("signal", "a", "approve", "true", "--signal-id", "s1")
    again = beside("signal", "a", "approve", "false", "--signal-id", "s1")

    assert (sent["changed"], again["changed"]) == (True, False)
    assert beside("result", "a", "--wait", "90") == "yes"
    assert beside.run("signal", "a", "approve", "true").status == 8


def test_the_owner_reacts_at_once(beside: Commands) -> None:
    delays: list[float] = []

    def reacts() -> bool:
        name = f"a{len(delays)}"
        beside.submit("approved", name=name)
        until_it_waits(beside, name, "signal")
        begun = time.monotonic()
        beside("signal", name, "approve", "true")
        delays.append((time.monotonic() - begun) * 1000)
        return delays[-1] < REACTS_MS

    # Posted, read, answered, seen: the whole command, so the best of some on a busy machine.
    wait_until(reacts, 30, f"within {REACTS_MS} ms")


def test_a_stub_is_answered_once(beside: Commands) -> None:
    beside.submit("asks", "tea?", name="a")
    until_it_waits(beside, "a", "stub")
    [reason] = beside("why", "a")["reasons"]
    assert "execution stub a/1 JSON" in reason["command"]

    first = beside("stub", "a/1", '"please"')
    again = beside("stub", "a/1", '"please"')

    assert (first["changed"], again["changed"]) == (True, False)
    assert beside("result", "a", "--wait", "90") == "please"
    assert beside.run("stub", "a/1", '"no"').error["code"] == "already_answered"
    assert beside.run("stub", "a/7", '"no"').error["code"] == "stub_not_found"
    assert beside.run("stub", "b/1", '"no"').error["code"] == "execution_not_found"


def test_a_stub_fails_from_outside(beside: Commands) -> None:
    beside.submit("asks", "tea?", name="a")
    until_it_waits(beside, "a", "stub")

    beside("stub", "a/1", "--error", "no tea")

    failed = beside.run("result", "a", "--wait", "90")
    assert (failed.status, "no tea" in failed.error["message"]) == (13, True)


def test_a_cancel_cleans_up_once(beside: Commands, tmp_path: Path) -> None:
    side = tmp_path / "side"
    beside.submit("naps", str(side), name="a")
    until_it_waits(beside, "a", "timer")

    assert beside("cancel", "a")["changed"] is True

    done = beside.run("result", "a", "--wait", "90")
    assert (done.status, done.error["code"]) == (13, "execution_cancelled")
    assert side.read_text() == "cleaned up a/2\n"
    assert beside.run("cancel", "a").error["code"] == "execution_ended"
    assert beside("show", "a")["result"] == "cancelled"


def test_one_that_is_not_cancellable_says_so(beside: Commands) -> None:
    beside.submit("stubborn", name="a")
    until_it_waits(beside, "a", "timer")

    refused = beside.run("cancel", "a")

    assert (refused.status, refused.error["code"]) == (8, "not_cancellable")


def test_a_pause_holds_it_until_it_ends(beside: Commands) -> None:
    beside.submit("approved", name="a")
    until_it_waits(beside, "a", "signal")

    assert beside("pause", "a") == {"execution_id": "a", "changed": True, "state": "paused"}
    assert beside("pause", "a")["changed"] is False
    beside("signal", "a", "approve", "true")
    assert beside("why", "a")["reasons"][0]["kind"] == "paused"
    assert beside.run("result", "a").status == 4

    assert beside("unpause", "a")["changed"] is True
    assert (
        beside("unpause", "a")["changed"] is False if beside.state("a") != "finished" else True
    )
    assert beside("result", "a", "--wait", "90") == "yes"


def test_one_that_is_created_paused_waits(beside: Commands) -> None:
    beside.submit("adds", 1, name="a", more=("--paused",))
    wait_until(lambda: beside.state("a") == "paused", 10, "it is there, and paused")

    assert beside.kinds("a") == ["created"]
    beside("unpause", "a")
    assert beside("result", "a", "--wait", "90") == 6


def test_the_deepest_reason_is_the_child_s(beside: Commands) -> None:
    beside.submit("parent", name="a")
    until_it_waits(beside, "a", "signal")

    reasons = beside("why", "a")["reasons"]

    assert [(r["execution_id"], r["kind"]) for r in reasons] == [
        ("a/1", "signal"),
        ("a", "child"),
    ]
    beside("signal", "a/1", "approve", "true")
    assert beside("result", "a", "--wait", "90") == "child said yes"


def test_the_owner_says_why_a_call_does_not_start(beside: Commands, tmp_path: Path) -> None:
    beside.submit("wants_a_gpu", name="a")
    until_it_waits(beside, "a", "slot")

    [reason] = beside("why", "a")["reasons"]

    assert "attempt 1 waits to start: queue 'gpu' is not served" in reason["text"]
    assert [path.name for path in (tmp_path / ".runs.db-obelisk").glob("*.sock")] == [
        "engine.sock"
    ]


def test_the_owner_says_that_its_supervisor_has_lost_its_lease(beside: Commands) -> None:
    inode = beside.db.stat().st_ino
    note = {"lease_deadline_ms": 1, "boot_id": boot_id(), "inode": inode}
    (folder(beside.db) / "owner.json").write_text(json.dumps(note))

    def says_so() -> bool:
        name = f"a{time.monotonic()}"  # the note is read each second
        beside.submit("adds", 1, name=name)
        wait_until(lambda: beside.kinds(name), 10, "it is there")
        reasons = beside("why", name).get("reasons", [])
        return "the lease of its supervisor has run out" in json.dumps(reasons)

    wait_until(says_so, 10, "it says so")


def test_an_owner_that_does_not_serve_the_function_says_so(
    beside: Commands, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere.py"
    other.write_text(CODE.read_text())
    beside("submit", f"{other}:adds", "1", "--id", "a")
    wait_until(lambda: beside.kinds("a"), 10, "it is there")

    assert beside.why("a") == ["unserved", "unbegun"]
    assert "elsewhere.adds" in beside("why", "a")["reasons"][0]["text"]


def test_a_fork_takes_the_other_way(beside: Commands) -> None:
    beside.submit("approved", name="a")
    until_it_waits(beside, "a", "signal")
    beside("signal", "a", "approve", "true")
    assert beside("result", "a", "--wait", "90") == "yes"

    made = beside("fork", "a", "--from-version", "2")

    assert made == {
        "execution_id": "a.fork-2", "forked_from": "a", "version": 2, "path": None,
    }  # fmt: skip
    until_it_waits(beside, "a.fork-2", "signal")
    beside("signal", "a.fork-2", "approve", "false")
    assert beside("result", "a.fork-2", "--wait", "90") == "no"
    assert beside("result", "a") == "yes"
    assert beside.run("fork", "a", "--from-version", "2").error["code"] == "execution_exists"
    assert beside.run("fork", "a", "--from-version", "9").status == 2
    assert beside.run("fork", "nobody", "--from-version", "1").status == 7


def test_ids_are_completed(ops: Commands) -> None:
    """As a shell asks: the database first, then the beginning of an id."""
    ops.submit("adds", 1, name="due")
    shell = ShellComplete(main, {}, "obelisk-ops", "_OBELISK_OPS_COMPLETE")
    before = ["execution", "show", "--db", str(ops.db)]

    assert [item.value for item in shell.get_completions(before, "d")] == ["done", "due"]
    assert [item.value for item in shell.get_completions(before, "do")] == ["done"]
    assert shell.get_completions(["execution", "show", "--db", "nowhere.db"], "d") == []


# -- without a worker --------------------------------------------------------------------


def test_requests_have_their_effect_at_once(ops: Commands) -> None:
    assert ops.submit("approved", name="a")["created"] is True
    assert ops.state("a") == "pending"
    assert ops("pause", "a")["state"] == "paused"
    assert ops.kinds("a") == ["created", "paused"]
    assert ops("signal", "a", "approve", "true")["changed"] is True
    assert ops("unpause", "a")["state"] == "pending"
    assert ops.why("a") == ["unowned", "unbegun"]

    with worker(ops.db):
        assert ops("result", "a", "--wait", "90") == "yes"


def test_one_that_has_not_begun_is_cancelled(ops: Commands, tmp_path: Path) -> None:
    ops.submit("naps", str(tmp_path / "side"), name="a")

    assert ops("cancel", "a")["state"] == "finished"
    assert ops("show", "a")["result"] == "cancelled"
    assert not (tmp_path / "side").exists()


def test_what_waits_goes_on_after_what_was_asked_meanwhile(ops: Commands) -> None:
    with worker(ops.db):
        ops.submit("asks", "tea?", name="a")
        until_it_waits(ops, "a", "stub")
    ops("stub", "a/1", '"please"')
    assert ops.run("stub", "a/1", '"no"').status == 8

    with worker(ops.db):
        assert ops("result", "a", "--wait", "90") == "please"


def test_a_fork_is_made_without_a_worker(ops: Commands) -> None:
    ops("fork", "done", "--from-version", "3", "--id", "again")

    assert ops.kinds("again") == ops.kinds("done")[:3]
    with worker(ops.db):
        assert ops("result", "again", "--wait", "90") == 18


def test_a_fork_goes_to_a_new_file(ops: Commands, tmp_path: Path) -> None:
    before = ops.db.read_bytes()

    made = ops("fork", "done", "--from-version", "3", "--to", tmp_path / "new.db")

    assert made["path"] == str(tmp_path / "new.db")
    assert ops.db.read_bytes() == before
    assert (
        ops.run("fork", "done", "--from-version", "3", "--to", tmp_path / "new.db").status == 8
    )
    ops.db = tmp_path / "new.db"
    assert [e["execution_id"] for e in ops("list")["executions"]] == ["done.fork-3"]
    with worker(ops.db):
        assert ops("result", "done.fork-3", "--wait", "90") == 18


def test_an_unfinished_family_moves_to_another_file(ops: Commands, tmp_path: Path) -> None:
    with worker(ops.db):
        ops.submit("parent", name="a")
        until_it_waits(ops, "a", "signal")
    file = tmp_path / "a.json"
    ops.run("export", "a", "-o", file, json=False)
    assert ops.run("export", "a", "-o", file, json=False).status == 8
    taken = ops.run("import", file)
    assert (taken.status, taken.error["code"]) == (8, "execution_exists")
    logs = [ops("events", name)["events"] for name in ("a", "a/1")]

    ops.db = tmp_path / "new.db"
    assert ops("import", file) == {"executions": ["a", "a/1"], "paused": []}

    assert [ops("events", name)["events"] for name in ("a", "a/1")] == logs
    assert ops("show", "a/1")["parent_id"] == "a"
    again = tmp_path / "again.json"
    ops.run("export", "a", "-o", again, json=False)
    assert again.read_text() == file.read_text()
    with worker(ops.db):
        ops("signal", "a/1", "approve", "true")
        assert ops("result", "a", "--wait", "90") == "child said yes"


def test_an_import_beside_a_worker_goes_on(beside: Commands, tmp_path: Path) -> None:
    beside.submit("asks", "tea?", name="a")
    until_it_waits(beside, "a", "stub")
    file = tmp_path / "a.json"
    beside.run("export", "a", "-o", file, json=False)
    other = Commands(tmp_path / "other.db")
    file.write_text(file.read_text().replace('"execution_id": "a"', '"execution_id": "b"'))

    beside("import", file, "--resume")

    until_it_waits(beside, "b", "stub")
    beside("stub", "b/1", '"milk"')
    assert beside("result", "b", "--wait", "90") == "milk"
    assert beside.state("a") == "blocked"
    assert other.run("list").status == 7
