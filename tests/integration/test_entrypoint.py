"""A program with a supervisor around it, where the supervisor is one that misbehaves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import CommandNotExecutable, CommandNotFound, DatabaseLocked, Fenced
from obelisk_ops.supervise import entrypoint
from obelisk_ops.supervise.command import Command, find
from obelisk_ops.supervise.entrypoint import Ending, Entrypoint, Terms
from obelisk_ops.supervise.outcome import Outcome
from obelisk_ops.supervise.status import Row
from obelisk_ops.supervise.supervisor import Supervisor

TERMS = Terms(needed={"a"}, patience_s=5, stop_s=5, grace_s=2)
PROVEN = Outcome(rows=[], exit_status=0)


class Scripted:
    """Stands in for a supervisor: it is well until its script says otherwise."""

    def __init__(
        self,
        *,
        fails: Exception | None = None,
        row: Row | None = None,
        mark: Path | None = None,
    ) -> None:
        self._fails = fails
        self._mark = mark
        self._row = row or Row(name="a", path="/a.db", state="ok", epoch=1)
        self._stop = asyncio.Event()
        self.is_ready = False
        self.trouble = None
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
