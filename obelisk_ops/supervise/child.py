"""One running Litestream: started, listened to, stopped. Decides nothing."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from obelisk_ops import process
from obelisk_ops.litestream.control import ControlSocket
from obelisk_ops.settings import hide

_LINE_BYTES_MAX = 256 * 1024
#: The first level of a line is that of the message; some lines have another, of compaction.
_LEVEL = re.compile(r'"level":"([A-Z]+)"')
_QUIET_LEVELS = frozenset({"DEBUG", "INFO", "TRACE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """
    Everything one process is started with.

    Attributes:
        argv: Program and arguments.
        env: Its whole environment; holds the credentials, so it is never shown.
        socket: Where it will listen.
        digest: Tells two launches apart.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    socket: Path
    digest: str

    def __repr__(self) -> str:
        """Leave out the environment."""
        return f"Launch({self.argv!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    What a process said that was not routine.

    Attributes:
        words: The words.
        database: The file name of the database that it spoke of; empty if of none.
    """

    words: str
    database: str = ""


class Litestream:
    """
    A process that was started.

    Attributes:
        control: Its control socket.
        last_words: The last line it wrote that was not routine.
    """

    def __init__(
        self, launch: Launch, *, on_line: Callable[[Said], None], on_end: Callable[[], None]
    ) -> None:
        launch.socket.unlink(missing_ok=True)
        self._process = process.spawn(launch.argv, env=launch.env, output=subprocess.PIPE)
        self.control = ControlSocket(launch.socket)
        self.last_words = ""
        self._on_line = on_line
        self._on_end = on_end
        self._listening = asyncio.ensure_future(self._listen())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def exit_words(self) -> str:
        """Say how it ended and what it said last."""
        code = self._process.poll()
        if code is None:
            return "Litestream runs"
        how = (
            f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"
        )
        said = f": {self.last_words}" if self.last_words else ""
        return f"Litestream {how}{said}"

    def terminate(self) -> None:
        """Ask it to ship the rest and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended and everything it said was heard; tell whether it did."""
        done, _ = await asyncio.wait({self._listening}, timeout=timeout_s)
        return bool(done) and self._process.poll() is not None

    async def _listen(self) -> None:
        reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        try:
            while line := await _next_line(reader):
                self._heard(hide(line.decode(errors="replace").strip()))
        finally:
            transport.close()
            self.control.close()
            # The pipe closes a moment before the exit code can be collected.
            await asyncio.to_thread(self._process.wait)
            self._on_end()

    def _heard(self, line: str) -> None:
        said = noteworthy(line)
        if said is not None:
            self.last_words = said.words
            self._on_line(said)


def noteworthy(line: str) -> Said | None:
    """Return what a line of Litestream's log says; None if it is routine."""
    try:
        told = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None if _is_sdk_chatter(line) else Said(words=line)
    level = _LEVEL.search(line)
    if not isinstance(told, dict) or (level and level.group(1) in _QUIET_LEVELS):
        return None
    error = told.get("error") or told.get("err") or ""
    words = f"{told.get('msg', '')}: {error}" if error else str(told.get("msg", ""))
    return Said(words=words, database=str(told.get("db") or ""))


def _is_sdk_chatter(line: str) -> bool:
    return not line or line.startswith("SDK ")


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        # A line longer than the buffer; what is left of it is read as another line.
        return b"(a very long line)\n"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
