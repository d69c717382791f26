"""The program that the supervisor is run around: started, sent signals, waited for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from obelisk_ops import process
from obelisk_ops.errors import CommandNotExecutable, CommandNotFound


class Command:
    """
    One program, with our own input and output.

    Use it within a running loop, in the main thread: the death of a child is a signal.

    Attributes:
        status: How it ended, as a shell gives it; None before that.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv, self._env = list(argv), dict(env)
        self._child: process.Child | None = None
        self._over = asyncio.Event()
        self.status: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self.status is None

    def start(self) -> None:
        """
        Start it.

        Raises:
            CommandNotFound: There is no such program.
            CommandNotExecutable: It cannot be run.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._look)
        try:
            self._child = process.start_in_front(self._argv, env=self._env)
        except OSError as error:
            raise _refusal(self._argv[0], error.strerror or str(error)) from None
        self._look()

    @property
    def was_started(self) -> bool:
        """Whether it was ever started."""
        return self._child is not None

    async def ended(self) -> int:
        """Wait for its end and return its status, 128 + N for a signal."""
        await self._over.wait()
        assert self.status is not None
        return self.status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._child is not None and self.status is None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """End it, and what it has started in its group, at once."""
        if self._child is not None and self.status is None:
            process.kill_group(self._child)

    def close(self) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def _look(self) -> None:
        code = self._child.poll() if self._child else None
        if code is not None and self.status is None:
            self.status = process.exit_status(code)
            process.back_in_front()
            self._over.set()


def find(name: str, search_path: str | None) -> None:
    """
    Refuse a program that cannot be started, before anything is done for it.

    Args:
        name: As it is typed: a path, or a name to be looked for.
        search_path: The value of PATH for it.

    Raises:
        CommandNotFound: There is no such program.
        CommandNotExecutable: It cannot be run.
    """
    folders = os.get_exec_path({"PATH": search_path or os.defpath})
    found = [Path(name)] if os.sep in name else [Path(folder, name) for folder in folders]
    # Asked in a way that never fails: a folder that may not be read holds no program for us.
    if any(os.path.isfile(path) and os.access(path, os.X_OK) for path in found):  # noqa: PTH113
        return
    for path in found:
        with suppress(OSError):
            if path.exists():
                raise _refusal(name, "is no program" if path.is_dir() else "Permission denied")
    raise _refusal(name, os.strerror(2))


def _refusal(name: str, why: str) -> CommandNotFound | CommandNotExecutable:
    if why == os.strerror(2):
        return CommandNotFound(
            f"{name}: no such program", hint="write it as '-- CMD ARGUMENTS'"
        )
    return CommandNotExecutable(f"{name} cannot be run: {why}", hint="check its mode")
