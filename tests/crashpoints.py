"""Calls of the operating system that are counted, and at which a process dies or is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

#: what changes a disk, or tells whether it holds
CALLS = (
    "open", "close", "write", "pwrite", "ftruncate", "fsync", "link", "rename", "replace",
    "unlink", "remove", "mkdir", "rmdir", "chmod", "chown",
)  # fmt: skip
#: those among them that a full or broken disk refuses, and whose refusal has a meaning
REFUSABLE = ("open", "write", "fsync", "link", "replace", "mkdir", "chmod")


@contextmanager
def watched(before: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    """Call *before* with the name and the arguments of each call, in this process alone."""
    here = os.getpid()

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if os.getpid() == here:  # and not in a child, which has a count of its own
                before(name, arguments)
            return real(*arguments, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        patch.setattr(fcntl, "flock", wrapped("flock", fcntl.flock))
        yield


def dies_at(fatal: int, action: Callable[[], object]) -> bool:
    """Run *action* in a process that is killed before its call number *fatal*; was it?"""
    child = os.fork()
    if child == 0:
        calls = 0

        def count(_name: str, _arguments: tuple[Any, ...]) -> None:
            nonlocal calls
            calls += 1
            if calls == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with watched(count):
                action()
        except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
    return os.WIFSIGNALED(status)


@contextmanager
def refused_at(fatal: int) -> Iterator[list[str]]:
    """Let the call number *fatal* of REFUSABLE fail; the list tells which it was, if any."""
    calls, hit = 0, list[str]()

    def refuse(name: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal calls
        calls += name in REFUSABLE
        if calls == fatal and name in REFUSABLE:
            hit.append(name)
            raise OSError(errno.EIO, "Input/output error")

    with watched(refuse):
        yield hit
