"""A program with a supervisor around it, where the supervisor is one that misbehaves."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import (
    CommandNotExecutable,
    CommandNotFound,
    DatabaseLocked,
    Fenced,
    S3Unavailable,
    Unproven,
)
from obelisk_ops.supervise import entrypoint
from obelisk_ops.supervise.command import Command, find
from obelisk_ops.supervise.entrypoint import Ending, Entrypoint, Terms
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.outcome import Outcome
from obelisk_ops.supervise.status import Row
from obelisk_ops.supervise.supervisor import Supervisor

TERMS = Terms(needed={"a"}, patience_s=5, stop_s=5, grace_s=2)
PROVEN = Outcome(rows=[], exit_status=0)


class Silent:
    """Stands in for a bucket of which one look tells nothing, and the next one its problem."""

    def __init__(self, problem: Problem | None) -> None:
        self.problem: Problem | None = None
        self._problem, self._was_asked = problem, False

    @property
    def is_known(self) -> bool:
        self.problem, was_asked = self._problem, self._was_asked
        self._was_asked = True
        return was_asked


class Scripted:
    """Stands in for a supervisor: it is well until its script says otherwise."""

    def __init__(
        self,
        *,
        fails: Exception | None = None,
        row: Row | None = None,
        mark: Path | None = None,
        bucket: Silent | None = None,
    ) -> None:
        self._fails, self._mark, self.bucket = fails, mark, bucket
        self._row = row or Row(name="a", path="/a.db", state="ok", epoch=1)
        self._stop = asyncio.Event()
        self.is_ready = False
        self.undecided: set[str] = set()

    async def run(self, *, hears_signals: bool) -> Outcome:
        assert not hears_signals
        if self._fails and isinstance(self._fails, DatabaseLocked):
            raise self._fails
        self.is_ready = True
        if self._mark:
            self._mark.touch()
        if self._fails:
            await asyncio.sleep(0.1)  # a fault that comes later, beside the program
            raise self._fails
        await self._stop.wait()
        return PROVEN

    def rows(self) -> list[Row]:
        return [self._row]

    def stop(self, within_s: float | None = None) -> None:
        self._stop.set()


class Log:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.events.append(event)

    def warning(self, event: str, **fields: object) -> None:
        self.events.append(event)


def run(log: Log, script: str, *supervisors: dict[str, object]) -> Ending:
    async def drive() -> Ending:
        made = iter(supervisors)
        return await Entrypoint(
            Command(["sh", "-c", script], dict(os.environ)),
            lambda: cast(Supervisor, Scripted(**next(made))),  # type: ignore[arg-type]
            TERMS,
            clock=SystemClock(),
            log=log,
        ).run()

    return asyncio.run(drive())


def test_a_supervisor_that_fails_does_not_end_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrypoint, "_AGAIN_S", 0.1)
    log = Log()

    mark = tmp_path / "another one runs"
    waits = f"while [ ! -e '{mark}' ]; do sleep 0.05; done; exit 3"
    ending = run(log, waits, {"fails": RuntimeError("a bug")}, {"mark": mark})

    assert ending == Ending(status=3, was_started=True, outcome=PROVEN), (
        "another one has taken its place"
    )
    assert log.events == ["command_started", "supervisor_failed", "command_ended"]


def test_a_supervisor_that_has_failed_at_the_end_makes_nothing_known() -> None:
    ending = run(Log(), "sleep 0.5; exit 3", {"fails": RuntimeError("a bug")})

    assert ending == Ending(status=3, was_started=True, outcome=None)


@pytest.mark.parametrize(
    ("supervisor", "error"),
    [
        ({"fails": DatabaseLocked("the state folder is in use")}, DatabaseLocked),
        ({"row": Row(name="a", path="", state="fenced", reason="fenced", detail="x")}, Fenced),
    ],
    ids=["it cannot start", "the database is another's"],
)
def test_a_command_whose_data_is_not_in_hand_is_not_started(
    supervisor: dict[str, object], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        run(Log(), f"touch {tmp_path}/started", supervisor)

    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (Problem(code="s3_unavailable", text="S3 does not answer", since_ms=0), S3Unavailable),
        (None, Unproven),
    ],
    ids=["which comes when the time is over", "of which nobody knows"],
)
def test_who_has_waited_in_vain_is_told_the_reason(
    problem: Problem | None, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.TERMS", replace(TERMS, patience_s=0.1))
    row = Row(name="a", path="", state="starting")

    with pytest.raises(error):
        run(Log(), "exit 0", {"row": row, "bucket": Silent(problem)})


def test_a_program_is_looked_for_before_anything_is_done(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch()

    with pytest.raises(CommandNotExecutable, match="Permission denied") as there:
        find("program", str(tmp_path))
    with pytest.raises(CommandNotFound, match="no such program") as nowhere:
        find("another", str(tmp_path))
    with pytest.raises(CommandNotExecutable, match="is no program"):
        find(f"{tmp_path}/", None)

    assert (there.value.exit_status, nowhere.value.exit_status) == (126, 127)
    program.chmod(0o700)
    find("program", str(tmp_path))
    find(str(program), None)
    find("sh", None)
    find("program", f"/{'x' * 300}:{tmp_path}")  # a folder that cannot be looked into
