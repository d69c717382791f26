"""Processes of the benchmarks' own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Failed(Exception):
    """A program did not end well; the text is the last that it said."""


def killed_when_it_says(word: str, module: str, *arguments: str) -> None:
    """Run a module until it prints *word* on a line of its own; then SIGKILL."""
    argv = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    if said.strip() != word:
        raise Failed(f"{module} said {said!r} instead of {word!r}")


def figures_of(
    module: str, *arguments: str, python: Path | None = None, timeout_s: float = 3_600
) -> dict[str, Any]:
    """Run a module to its end; the last line that it prints is JSON."""
    argv = [str(python or sys.executable), "-m", module, *arguments]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"{module}: {told[-1] if told else f'exit {done.returncode}'}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
