"""
Work in a child process with limits, which may die of what it reads.

A forked child: it begins in milliseconds, knows all that its parent knows, and can neither
write a file nor gain rights. It answers through a pipe, in bytes that the parent is to
decode as data. The kernel ends it when it takes too much; the parent learns of what.

A lock that another thread holds at the moment of the fork is held for ever in the child. Those
of malloc, of imports and of logging are made anew by the system and by Python; that of a stream
that is logged to is not, so the child logs nothing. SQLite's are not, either: a fork while
another thread is inside SQLite hangs every second child. So it is done where there is no such
thread: in commands that read, and before a supervisor begins. A supervisor itself, which does
read in threads, forks nothing: it starts its drills as programs of their own. Threads that wait
for the bucket do no harm; a test forks beside them again and again.
"""

from __future__ import annotations

import logging
import math
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NoReturn, TypeAlias

from obelisk_ops.errors import Unavailable
from obelisk_ops.process import MORE_PROCESSES
from obelisk_ops.process.nature import die_with_parent, gain_no_rights

#: what a child answers with, as often as it likes
Say: TypeAlias = Callable[[bytes], None]

_STATM = Path("/proc/self/statm")
_DATA_FIELD = 5
_LENGTH = struct.Struct(">Q")
_PIECE_BYTES = 1 << 20
_FIRST_OTHER_FILE = 3
#: Exit codes of a child that cannot say more.
_BROKE, _NO_MEMORY, _INTERRUPTED = 70, 71, 130
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
#: How long a child may take to end by an interrupt that has reached it, too.
_REACTION_S = 0.5
#: Behind its own limit, so that a child that can still say why it stops does so.
GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What a child may take.

    Attributes:
        time_s: Seconds of processor time; of waiting for one answer, too.
        memory_bytes: More than its parent has now (Linux).
        answer_bytes: How long one answer may be.
    """

    time_s: float
    memory_bytes: int = 2 << 30
    answer_bytes: int = 256 << 20


class Cause(StrEnum):
    """Why a child ended before its time."""

    TIME = "time"
    MEMORY = "memory"
    ANSWER = "answer"
    CRASH = "crash"


class Death(Exception):
    """
    A child did not come to its end.

    Attributes:
        cause: Of what it died.
        words: How, as for ``it …``.
    """

    def __init__(self, cause: Cause, words: str) -> None:
        super().__init__(words)
        self.cause, self.words = cause, words


def death_of(status: int) -> Death | None:
    """Return what an exit code of ``subprocess`` says; None if it says nothing special."""
    if status == -signal.SIGXCPU:
        return Death(Cause.TIME, "took too much processor time")
    if status == -signal.SIGKILL:
        return Death(
            Cause.MEMORY, "was killed by the system, as when a machine is out of memory"
        )
    if status == _NO_MEMORY:
        return Death(Cause.MEMORY, "took too much memory")
    if status < 0:
        return Death(Cause.CRASH, f"crashed ({signal.Signals(-status).name})")
    return None


@contextmanager
def answers(work: Callable[[Say], None], limits: Limits) -> Iterator[Answers]:
    """
    Let a child do *work*, and give what it answers.

    It is gone when the block is left, done or not. It has no file open that its parent has,
    so it can use no connection of it.

    Raises:
        Unavailable: No more processes can be started.
    """
    reading, writing = os.pipe()
    try:
        child = _fork()
    except Unavailable:
        os.close(reading)
        os.close(writing)
        raise
    if child == 0:
        os.close(reading)
        _work(work, writing, limits)
    os.close(writing)
    given = Answers(child, reading, limits)
    try:
        yield given
    finally:
        os.close(reading)
        given.end()


class Answers:
    """What a child says, piece by piece."""

    def __init__(self, child: int, pipe: int, limits: Limits) -> None:
        self._child, self._pipe, self._limits = child, pipe, limits
        self._poll = select.poll()  # whose files may have any number
        self._poll.register(pipe, select.POLLIN)
        self._status: int | None = None

    def next(self, limit_s: float | None = None) -> bytes | None:
        """
        Return the next answer; None when the child is done.

        Args:
            limit_s: How long to wait for it, but for some grace; else ``Limits.time_s``.

        Raises:
            Death: There will be none.
        """
        wait_s = self._limits.time_s if limit_s is None else limit_s
        ends_at = time.monotonic() + wait_s + GRACE_S
        answer = None
        if head := self._read(_LENGTH.size, ends_at):
            [length] = _LENGTH.unpack(head)
            if length > self._limits.answer_bytes:
                raise Death(Cause.ANSWER, f"answered with {length} bytes")
            answer = self._read(length, ends_at)
        if answer is None:
            self._take_leave()
        return answer

    def end(self) -> int:
        """Kill the child if it lives; return its exit code, as ``subprocess`` does."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self._status = self._wait()
        return self._status

    def _take_leave(self) -> None:
        # Its end of the pipe is closed: it is gone, or about to be.
        if self._status is None:
            self._status = self._wait()
        if self._status:
            raise death_of(self._status) or Death(Cause.CRASH, "broke off")

    def _wait(self) -> int:
        _pid, status = os.waitpid(self._child, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self, wanted: int, ends_at: float) -> bytes | None:
        """Return so many bytes; None if the child has closed its end before."""
        pieces, missing = list[bytes](), wanted
        while missing:
            wait_s = max(ends_at - time.monotonic(), 0)
            if not self._poll.poll(wait_s * 1000):
                raise Death(Cause.TIME, "gave no answer in time")
            piece = os.read(self._pipe, min(missing, _PIECE_BYTES))
            if not piece:
                return None
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def in_front(work: Callable[[], int], limits: Limits) -> int:
    """
    Let a child do *work* with our terminal, input and output; return its exit code.

    Unlike with ``answers`` it may write files, and its parent waits for it without an end:
    somebody may look at page after page of what it prints. Signals are passed on to it.

    Raises:
        Unavailable: No more processes can be started.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_PASSED_ON)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = _fork()
    except Unavailable:
        _set_signals(before)
        raise
    if child == 0:
        _go_on_in_front(work, limits, before)
    try:
        signal.signal(signal.SIGINT, lambda *_: _interrupt(child))
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _frame: _pass_on(child, number))
        _pid, status = os.waitpid(child, 0)
    finally:
        _set_signals(before)
    code = os.waitstatus_to_exitcode(status)
    if -code in _PASSED_ON:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _interrupt(child: int) -> None:
    """Pass an interrupt on if it was for us alone; a Ctrl-C reaches both."""
    if not _are_in_foreground():
        Event().wait(_REACTION_S)  # one that was for the whole group has ended it by then
        _pass_on(child, signal.SIGINT)


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _are_in_foreground() -> bool:
    """Tell whether a terminal sends its Ctrl-C to our group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def lift() -> None:
    """In a child of ``in_front``: go on without limits, to run what the user has written."""
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_DATA):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        raise Unavailable(
            f"no process can be started: {error.strerror}", hint=MORE_PROCESSES
        ) from None


def _go_on_in_front(
    work: Callable[[], int], limits: Limits, handlers: dict[signal.Signals, Any]
) -> NoReturn:
    status = _BROKE
    try:
        _set_signals(handlers)
        die_with_parent()
        _confine(limits)
        status = work()
        with suppress(OSError, ValueError):  # nobody reads it any more
            sys.stdout.flush()
            sys.stderr.flush()
    except MemoryError:
        status = _NO_MEMORY
    except KeyboardInterrupt:  # once more, while it was ending by the first
        status = _INTERRUPTED
    finally:
        os._exit(status)


def _work(work: Callable[[Say], None], pipe: int, limits: Limits) -> NoReturn:
    status = _BROKE
    try:
        die_with_parent()
        _keep_only(pipe)
        signal.set_wakeup_fd(-1)  # it is that of the parent's event loop
        _set_signals(dict.fromkeys(_PASSED_ON, signal.SIG_DFL))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a Ctrl-C means the parent decides
        _confine(limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        _fall_silent()
        work(partial(_say, pipe))
        status = 0
    except MemoryError:
        status = _NO_MEMORY
    finally:
        os._exit(status)


def _keep_only(pipe: int) -> None:
    # A lock by flock is held as long as anybody has the file that it is on open.
    os.closerange(_FIRST_OTHER_FILE, pipe)
    os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))


def _fall_silent() -> None:
    # A thread of the parent may have been writing a line: the lock of its stream stays locked.
    logging.disable()
    # What is printed could end up in a file, which may not be written.
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _say(pipe: int, answer: bytes) -> None:
    left = memoryview(_LENGTH.pack(len(answer)) + answer)
    while left:
        left = left[os.write(pipe, left) :]


def _confine(limits: Limits) -> None:
    seconds = math.ceil(limits.time_s + GRACE_S)
    _lower(resource.RLIMIT_CPU, seconds)
    if _STATM.exists():
        pages = int(_STATM.read_text(encoding="ascii").split()[_DATA_FIELD])
        _lower(
            resource.RLIMIT_DATA,
            min(pages * resource.getpagesize() + limits.memory_bytes, sys.maxsize),
        )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gain_no_rights()


def _lower(kind: int, limit: int) -> None:
    soft, hard = resource.getrlimit(kind)
    bounds = [bound for bound in (limit, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(bounds), hard))


def _set_signals(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
