"""
Starting other programs: no shell, a chosen environment, and no orphan.

The only place that calls subprocess, and that forks. A child is put in its own session (so a
Ctrl-C on the terminal reaches the parent alone, which then stops its children
in order) and, on Linux, is killed by the kernel when its parent dies. What reads a database
that may be hostile does so in ``apart``.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from obelisk_ops.process.nature import adopt_orphans, die_with_parent

#: a started program, for the annotations of those who started it
Child = subprocess.Popen[bytes]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: what a program in front of another one passes on to it
FORWARDED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT,
)  # fmt: skip

#: What to do where no more processes or threads can be started.
MORE_PROCESSES = "raise TasksMax= of the service, ulimit -u, or the pids of the container"


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    output: int | IO[bytes] = subprocess.DEVNULL,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    cwd: Path | None = None,
    niceness: int = 0,
) -> subprocess.Popen[bytes]:
    """
    Start a program that does not outlive this process.

    Call it from the main thread: the kernel ties the child's life to the
    *thread* that started it.

    Args:
        argv: Program and arguments; never a secret, other users can read them.
        env: The whole environment of the child.
        output: Where stdout and stderr go, ``subprocess.PIPE`` to read them.
        stdin: What it reads.
        cwd: The folder to start in.
        niceness: How far it, and what it starts, stands back behind others; up to 19.
    """

    def prepare() -> None:
        if niceness:
            os.nice(niceness)
        die_with_parent()

    return subprocess.Popen(
        [str(part) for part in argv],
        env=dict(env),
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        umask=0o077,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - it makes one or two system calls
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
        preexec_fn=die_with_parent,  # noqa: PLW1509 - it makes one system call
    )


def start_in_front(argv: Sequence[str | Path], *, env: Mapping[str, str]) -> Child:
    """
    Start the program that this process was called for: its input and output are ours.

    It leads a group of its own, and has the terminal if there is one; a Ctrl-C reaches
    it alone. When this process dies it gets SIGTERM.

    Raises:
        OSError: It cannot be started.
    """
    gets_terminal = _has_terminal()

    def prepare() -> None:
        if gets_terminal:
            _take_terminal()
        die_with_parent(signal.SIGTERM)

    return subprocess.Popen(
        [str(part) for part in argv],
        env=dict(env),
        process_group=0,
        preexec_fn=prepare,  # noqa: PLW1509 - a few system calls; no thread holds a lock yet
    )


def back_in_front() -> None:
    """Take the terminal back from a program that has ended, if there is one."""
    if os.isatty(0):
        _take_terminal()


def stay_as_init() -> None:
    """
    Fork and go on in the child; what is left behind does the work of an init.

    It passes signals on, collects processes that lost their parent, and ends with the
    child and its status. Call it before anything else was started: no thread is copied.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    adopt_orphans()
    gets_terminal = _has_terminal()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        die_with_parent()
        os.setpgid(0, 0)
        if gets_terminal:
            _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while (status := _collect(child)) is None:
        number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            os.kill(child, number)
    os._exit(status)


def exit_status(code: int) -> int:
    """Return an exit code of ``subprocess`` as a shell gives it: 128 + N for a signal."""
    return code if code >= 0 else 128 - code


def _collect(child: int) -> int | None:
    """Collect every process that has ended; return the status of *child* if it is one."""
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == child:
            return exit_status(os.waitstatus_to_exitcode(ended))
        if pid == 0:
            return None


def _has_terminal() -> bool:
    return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def _take_terminal() -> None:
    # Who is in the background and asks for the terminal is stopped, unless this is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    with suppress(OSError):
        os.tcsetpgrp(0, os.getpgrp())
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that leads a group, and all that it has started."""
    # Once it was waited for its number may be another's; nobody else waits for it.
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def end_group(child: subprocess.Popen[bytes], timeout_s: float = 1.0) -> None:
    """Kill a child that leads a group, if it runs, and take note of its end."""
    kill_group(child)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout_s)


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


def is_exhausted(error: OSError) -> bool:
    """Tell whether a program was not started because too many processes and threads run."""
    return error.errno == errno.EAGAIN


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


def most_files() -> int:
    """Return how far the limit on open files can be raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def raise_file_limit(wanted: int) -> int:
    """Let this process and its children have *wanted* files open; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):  # macOS has another limit, above which it refuses
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@cache
def way_to_stop(pid: str) -> str:
    """Return the command that stops a process: of systemd, if that runs it as a service."""
    cgroup = ""
    with suppress(OSError, UnicodeDecodeError):
        cgroup = Path(f"/proc/{int(pid)}/cgroup").read_text().splitlines()[0]
    unit = cgroup.rpartition("/")[2]
    if not unit.endswith(".service") or unit.startswith("user@"):
        return f"kill {pid}"
    return f"systemctl {'--user ' if '/user@' in cgroup else ''}stop {unit}"


def boot_id() -> str:
    """Return which run of the machine this process lives in; empty where nothing tells."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
