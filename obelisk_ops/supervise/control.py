"""
The supervisor's own control socket: one JSON line asks, one JSON line answers.

    {"ask": "status"}    ->    {"databases": [...]}
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from obelisk_ops.errors import Unproven

_TIMEOUT_S = 5.0
_LINE_BYTES_MAX = 64 * 1024
_ANSWER_BYTES_MAX = 64 * 1024 * 1024


class ControlServer:
    """Answers questions about the fleet."""

    def __init__(self, path: Path, answers: dict[str, Callable[[], object]]) -> None:
        self._path = path
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, self._path, limit=_LINE_BYTES_MAX
        )
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                line = await reader.readline()
                writer.write(msgspec.json.encode(self._answer(line)) + b"\n")
                await writer.drain()
        writer.close()

    def _answer(self, line: bytes) -> object:
        try:
            question = json.loads(line)["ask"]
            answer = self._answers[question]
        except (ValueError, LookupError, TypeError):
            known = ", ".join(sorted(self._answers))
            return {"error": {"code": "usage", "message": "not understood", "hint": known}}
        return answer()


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
            with connection.makefile("rb") as stream:
                return msgspec.json.decode(stream.read(_ANSWER_BYTES_MAX))
    except (FileNotFoundError, ConnectionRefusedError):
        raise
    except (OSError, msgspec.DecodeError) as error:
        raise Unproven(
            f"the supervisor does not answer on {path}: {error}",
            hint="see its log; if it hangs, stop it and start it again",
        ) from None
