"""The command line as a black box, as another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands import run_here
from tests.support import PATIENCE_S

PROGRAM = Path(sys.executable).with_name("obelisk-ops")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which is one line of JSON."""
        [line] = self.out.splitlines()
        return json.loads(line)

    @property
    def error(self) -> dict[str, str]:
        """The error on the last line, as ``--json`` prints it."""
        error: dict[str, str] = json.loads(self.err.splitlines()[-1])["error"]
        return error


def environment() -> dict[str, str]:
    wanted = ("PATH", "HOME", "LANG", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name in wanted}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


def start(
    *argv: str | Path, cwd: Path | None = None, as_group: bool = False
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, *map(str, argv)], cwd=cwd, text=True,
        env=environment() | {"PYTHONFAULTHANDLER": "1"},  # for outcome
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0 if as_group else None,
    )  # fmt: skip


def outcome(process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> Outcome:
    """Wait for its end; of one that does not come to it, say where each of its threads is."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate(timeout=timeout_s)
        argv = " ".join(map(str, process.args))  # type: ignore[arg-type]
        raise AssertionError(f"after {timeout_s:g} s still there: {argv}\n{out}{err}") from None
    return Outcome(process.returncode, out, err)


def call_here(*argv: str | Path) -> Outcome:
    """Give a command within this process: the same, without the time in which one begins."""
    ran = run_here(*argv)
    return Outcome(ran.status, ran.out, ran.err)


def call(*argv: str | Path, cwd: Path | None = None) -> Outcome:
    with start(*argv, cwd=cwd) as process:
        return outcome(process)
