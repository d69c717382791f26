"""Giving commands the way a person would: as processes, with their exit codes and JSON."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from obelisk_ops import process
from obelisk_ops.errors import OpsError

T = TypeVar("T")

_COMMAND_S = 180.0
_LOOK_S = 0.05
#: Between two commands that ask the same: each is a process, and takes half a second itself.
ASK_AGAIN_S = 0.5


class Terminal:
    """A folder to work in, an environment, and the commands given there."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.home = home
        self._env = env
        self._running: list[tuple[str, process.Child]] = []

    def ask(self, *args: str, ends_with: tuple[int, ...] = (0,)) -> Any:  # noqa: ANN401
        """
        Run a command with ``--json`` and return what it says.

        Raises:
            OpsError: It ends with another exit code than those expected.
        """
        argv = [sys.executable, "-m", "obelisk_ops", *self._config(), *args, "--json"]
        done = process.run(argv, env=self._env, timeout_s=_COMMAND_S)
        if done.returncode not in ends_with:
            shown = done.stderr.strip()[-800:] or done.stdout.strip()[-800:]
            raise OpsError(f"obelisk-ops {' '.join(args)}: exit {done.returncode}: {shown}")
        return msgspec.json.decode(done.stdout) if done.stdout.strip() else None

    def show(self, *args: str) -> str:
        """Run a command and return the text that a person would see."""
        argv = [sys.executable, "-m", "obelisk_ops", *self._config(), *args]
        return process.run(argv, env=self._env, timeout_s=_COMMAND_S).stdout

    def succeeds(self, *args: str) -> bool:
        """Run a command and return whether its exit code is 0."""
        argv = [sys.executable, "-m", "obelisk_ops", *self._config(), *args]
        return process.run(argv, env=self._env, timeout_s=_COMMAND_S).returncode == 0

    def start(self, name: str, *args: str) -> process.Child:
        """Start a command that goes on; its output is in ``<name>.log``."""
        argv = [sys.executable, "-m", "obelisk_ops", *self._config(), *args]
        with (self.home / f"{name}.log").open("ab") as log:
            started = process.spawn(argv, env=self._env, output=log, cwd=self.home)
        self._running.append((name, started))
        return started

    def running(self, group: str) -> list[process.Child]:
        """Return the processes that were started under names with *group* in them."""
        return [started for name, started in self._running if group in name]

    def close(self) -> None:
        """End everything that was started here."""
        for _name, started in self._running:
            if started.poll() is None:
                started.send_signal(signal.SIGTERM)
        for _name, started in self._running:
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()

    def _config(self) -> list[str]:
        return ["-c", str(self.home / "obelisk-ops.yml")]


def until(
    probe: Callable[[], T], what: str, *, every_s: float = _LOOK_S, timeout_s: float = 180.0
) -> T:
    """
    Look again and again until *probe* returns something true, and return that.

    Raises:
        OpsError: It takes too long.
    """
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not (seen := probe()):
        if time.monotonic() > deadline:
            raise OpsError(f"waited {timeout_s:g} s in vain until {what}")
        pause.wait(every_s)
    return seen
