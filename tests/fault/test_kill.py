"""
SIGKILL at random moments: nothing acknowledged is lost or done again, nothing is missing.

OBELISK_OPS_TEST_SEED repeats a run; the seed of each run is printed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from obelisk_ops.core.events import Event
from obelisk_ops.core.fold import fold
from obelisk_ops.core.ports import ExecutionFilter, State, StateRow
from obelisk_ops.errors import ConfigError, DatabaseNotFound
from obelisk_ops.storage import Address, open_reader, own

SCRIPT = Path(__file__).with_name("doomed.py")
PER_LIFE = 2
FAILS_BY_DESIGN = {"fails_at_first"}


def seed() -> int:
    return int(os.environ.get("OBELISK_OPS_TEST_SEED") or random.randrange(2**32))


@dataclass
class Account:
    """What the side effects say, and what the log said after each kill."""

    database: Address
    side: Path
    acknowledged: list[set[str]] = field(default_factory=list)

    def run(self, life: int, count: int, *, kill_after_s: float | None) -> None:
        argv = [sys.executable, str(SCRIPT), str(self.database), str(self.side)]
        argv += [str(life), str(count)]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "up\n"
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                worker.kill()
            _, errors = worker.communicate(timeout=180)
        if worker.returncode not in ((0, -9) if kill_after_s is not None else (0,)):
            pytest.fail(f"the worker ended with {worker.returncode}: {errors}")
        self.acknowledged.append(self.returned())

    def returned(self) -> set[str]:
        try:
            logs = self.logs()
        except (DatabaseNotFound, ConfigError):
            return set()  # killed before there was a database, or a table in it
        return {
            f"{row.id}/{n}"
            for row, log in logs
            for n, call in fold(log).calls.items()
            if call.kind == "activity" and call.outcome in ("ok", "error")
        }

    def logs(self) -> list[tuple[StateRow, list[Event]]]:
        with closing(open_reader(self.database)) as reader:
            rows = reader.executions(ExecutionFilter(limit=1_000_000))
            return [(row, reader.log(row.key)) for row in rows]

    def lines(self) -> list[tuple[str, str, int, int]]:
        """Return what, call, attempt and life of each line of the side effects."""
        whole = [line.split() for line in self.side.read_text().splitlines()]
        return [(what, call, int(attempt), int(life)) for what, call, attempt, life in whole]

    def in_flight(self) -> int:
        starts = {line[1:] for line in self.lines() if line[0] == "start"}
        ends = {line[1:] for line in self.lines() if line[0] == "end"}
        retried = {call for call, attempt, _ in starts if attempt > 1}
        return sum(call in retried for call, *_ in starts - ends)

    def results(self) -> dict[str, object]:
        return {row.id: fold(log).value for row, log in self.logs()}

    def calls(self) -> dict[str, str | None]:
        return {
            f"{row.id}/{n}": call.function
            for row, log in self.logs()
            for n, call in fold(log).calls.items()
        }


def kill_and_check(
    folder: Path, kills: int, databases: Sequence[Address] | None = None
) -> None:
    """Kill owners of one database, and hold it against another one that nobody disturbed."""
    database, other = databases or (folder / "doomed.db", folder / "undisturbed.db")
    chosen = seed()
    print(f"OBELISK_OPS_TEST_SEED={chosen}")  # noqa: T201 - to repeat a failure
    moments = random.Random(chosen)
    account = Account(database, folder / "side")

    for life in range(kills):
        account.run(life, PER_LIFE, kill_after_s=moments.uniform(0, 0.3))
    account.run(kills, PER_LIFE, kill_after_s=None)
    undisturbed = Account(other, folder / "side-undisturbed")
    undisturbed.run(kills, PER_LIFE, kill_after_s=None)

    print(account.in_flight(), "attempts were in flight at a kill")  # noqa: T201
    nothing_acknowledged_is_lost(account)
    nothing_acknowledged_is_started_again(account)
    nothing_is_missing_and_nothing_done_too_often(account)
    assert account.results() == undisturbed.results()
    assert account.calls() == undisturbed.calls()
    the_tables_fit_the_log(account.database)


def nothing_acknowledged_is_lost(account: Account) -> None:
    for before, after in zip(account.acknowledged, account.acknowledged[1:], strict=False):
        assert before <= after
    acked = {call for what, call, _, _ in account.lines() if what == "acked"}
    rows = {row.id: row for row, _ in account.logs()}
    assert acked <= set(rows)
    assert {row.state for row in rows.values()} == {State.FINISHED}


def nothing_acknowledged_is_started_again(account: Account) -> None:
    again = [
        (call, attempt, life)
        for what, call, attempt, life in account.lines()
        if what == "start" and life > 0 and call in account.acknowledged[life - 1]
    ]
    assert again == []


def nothing_is_missing_and_nothing_done_too_often(account: Account) -> None:
    functions = {
        call: (name or "").rpartition(".")[2]
        for call, name in account.calls().items()
        if name is not None
    }
    lines = account.lines()
    starts = Counter((call, attempt) for what, call, attempt, _ in lines if what == "start")
    assert set(starts.values()) == {1}, "an attempt is on record before it starts"
    lives: dict[str, Counter[int]] = defaultdict(Counter)
    for what, call, _, life in lines:
        if what == "start":
            lives[call][life] += 1
    ended = {call for what, call, _, _ in lines if what == "end"}
    for call in account.acknowledged[-1]:
        assert call in ended, f"{call} has a result and never ran to its end"
        most = 2 if functions[call] in FAILS_BY_DESIGN else 1
        assert max(lives[call].values()) <= most, f"{call} was run twice within one life"


def the_tables_fit_the_log(database: Address) -> None:
    held = own(database)  # its own check of a file passes, too
    with closing(held.store) as store:
        assert store.unfinished() == []
        assert store.letters(1) == []
        for row in store.executions(ExecutionFilter(limit=1_000_000)):
            log = store.log(row.key)
            assert [event.version for event in log] == list(range(len(log)))
            assert store.timers(row.key) == {}
            seqs = [msgspec.json.decode(e.body).get("seq") for e in log]
            assert sorted(store.inbox(row.key)) == sorted(filter(None, seqs))
            assert fold(log).has_ended
    held.release()


@pytest.mark.behaviour("P01", "P12")
def test_a_few_kills(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 15)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_two_hundred_kills(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 200)
