"""What a process is by its own wish: system calls on itself, each safe behind a fork."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
# Loaded before any fork: what runs behind one is a single system call.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Get a signal when the thread that started this process ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every process below that loses its own (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def gain_no_rights() -> None:
    """Have programs that are started from here run with no more rights (Linux)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)
