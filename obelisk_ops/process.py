"""
Starting other programs: no shell, a chosen environment, and no orphan.

The only place that calls subprocess. A child is put in its own session (so a
Ctrl-C on the terminal reaches the parent alone, which then stops its children
in order) and, on Linux, is killed by the kernel when its parent dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

#: a started program, for the annotations of those who started it
Child = subprocess.Popen[bytes]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    output: int | IO[bytes] = subprocess.DEVNULL,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """
    Start a program that does not outlive this process.

    Call it from the main thread: the kernel ties the child's life to the
    *thread* that started it.

    Args:
        argv: Program and arguments; never a secret, other users can read them.
        env: The whole environment of the child.
        output: Where stdout and stderr go, ``subprocess.PIPE`` to read them.
        cwd: The folder to start in.
    """
    return subprocess.Popen(
        [str(part) for part in argv],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        umask=0o077,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
    )


def converse(
    argv: Sequence[str | Path], *, env: Mapping[str, str], keep: int
) -> subprocess.Popen[bytes]:
    """
    Start a program that is spoken to: its stdin, stdout and stderr are pipes.

    It does not outlive the thread that starts it, and leads a group of its own.

    Args:
        argv: Program and arguments; never a secret, other users can read them.
        env: The whole environment of the child.
        keep: An open descriptor that the child keeps.
    """
    return subprocess.Popen(
        [str(part) for part in argv],
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(keep,),
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
    )


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that leads a group, and all that it has started."""
    # Once it was waited for its number may be another's; nobody else waits for it.
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def run(
    argv: Sequence[str | Path], *, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """
    Run a short program to its end and return its output as text.

    Raises:
        subprocess.TimeoutExpired: It took longer; it was killed.
        FileNotFoundError: There is no such program.
    """
    return subprocess.run(
        [str(part) for part in argv],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def find_program(name: str) -> Path | None:
    """Return the program installed beside this Python, else the one on PATH, else None."""
    beside = Path(sys.executable).parent / name
    if os.access(beside, os.X_OK):
        return beside
    for folder in os.get_exec_path():
        candidate = Path(folder) / name
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def _die_with_parent() -> None:
    # Runs between fork and exec: one system call on a library loaded before.
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def boot_id() -> str:
    """Return which run of the machine this process lives in; empty where nothing tells."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
