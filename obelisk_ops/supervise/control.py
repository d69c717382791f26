"""
The supervisor's own control socket: one JSON line asks, one JSON line answers.

    {"ask": "status"}                       ->    {"databases": [...]}
    {"ask": "barrier", "database": PATH}    ->    {"note": …} as often as need be, then {}

A connection carries as many questions as one likes, and is answered in their order.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from obelisk_ops.errors import Unproven

Answer: TypeAlias = Callable[[], object]
SlowAnswer: TypeAlias = Callable[
    [dict[str, Any], Callable[[object], None]], Coroutine[Any, Any, object]
]

_TIMEOUT_S = 5.0
_LINE_BYTES_MAX = 64 * 1024
_ANSWER_BYTES_MAX = 64 * 1024 * 1024


class ControlServer:
    """Answers questions about the fleet, one after the other on each connection."""

    def __init__(
        self, path: Path, answers: Mapping[str, Answer], slow: Mapping[str, SlowAnswer]
    ) -> None:
        """
        Describe what it can be asked.

        Args:
            path: Where it listens.
            answers: What is answered at once.
            slow: What takes time. It is given the question, and may say things meanwhile;
                it is cancelled when whoever asked hangs up.
        """
        self._path = path
        self._answers, self._slow = answers, slow
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to answer."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._connected, self._path, limit=_LINE_BYTES_MAX
        )
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(serving)
        serving.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        coming = asyncio.ensure_future(reader.readline())
        try:
            # What is longer than a line may be is no question.
            with suppress(OSError, ValueError):
                while line := await coming:
                    coming = asyncio.ensure_future(reader.readline())
                    answer = await self._answer(line, coming, partial(_note, writer))
                    _say(writer, answer)
                    await writer.drain()
        finally:
            coming.cancel()
            writer.close()

    async def _answer(
        self, line: bytes, coming: asyncio.Future[bytes], say: Callable[[object], None]
    ) -> object:
        try:
            question = json.loads(line)
            name = question["ask"]
            if name in self._slow:
                return await _unless_gone(self._slow[name](question, say), coming)
            answer = self._answers[name]
        except (ValueError, LookupError, TypeError):
            known = ", ".join(sorted({**self._answers, **self._slow}))
            return {"error": {"code": "usage", "message": "not understood", "hint": known}}
        return answer()


def _note(writer: asyncio.StreamWriter, line: object) -> None:
    """Say something by the way, unless what was said before was not even taken."""
    if not writer.transport.get_write_buffer_size():
        _say(writer, line)


def _say(writer: asyncio.StreamWriter, line: object) -> None:
    writer.write(msgspec.json.encode(line) + b"\n")


async def _unless_gone(
    answering: Coroutine[Any, Any, object], coming: asyncio.Future[bytes]
) -> object:
    """
    Return an answer, or stop looking for it when nobody is there any more.

    Raises:
        ConnectionResetError: Whoever asked has hung up.
    """
    task = asyncio.ensure_future(answering)
    both: set[asyncio.Future[Any]] = {task, coming}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and not coming.result():
            raise ConnectionResetError
        return await task
    finally:
        task.cancel()


def ask(path: Path, question: str) -> Any:  # noqa: ANN401 - JSON
    """
    Ask a supervisor, and return its answer.

    Raises:
        FileNotFoundError: Nobody listens there.
        ConnectionRefusedError: Nobody listens there any more.
        Unproven: It does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode({"ask": question}) + b"\n")
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return msgspec.json.decode(stream.read(_ANSWER_BYTES_MAX))
    except (FileNotFoundError, ConnectionRefusedError):
        raise
    except (OSError, msgspec.DecodeError) as error:
        raise Unproven(
            f"the supervisor does not answer on {path}: {error}",
            hint="see its log; if it hangs, stop it and start it again",
        ) from None
