"""A supervisor that says when the bucket holds something: when the test says so."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from obelisk_ops.durable.mailroom import wake_owner
from obelisk_ops.storage.sqlite import beside
from tests.support import PATIENCE_S


class FakeSupervisor:
    """
    Looks after one database.

    Attributes:
        asked: How many questions have come.
        is_open: Whether they are answered at once.
    """

    def __init__(self, database: Path, *, is_open: bool = False) -> None:
        self.asked = 0
        self.is_open = is_open
        self._database = database
        self._waiting: list[asyncio.StreamWriter] = []
        self._streams: list[asyncio.StreamWriter] = []
        self._serving = 0
        self._folder = tempfile.TemporaryDirectory(prefix="s-")

    async def __aenter__(self) -> Self:
        socket = Path(self._folder.name) / "s.sock"
        self._server = await asyncio.start_unix_server(self._serve, socket)
        note = beside.make_folder(self._database) / "owner.json"
        note.write_text(json.dumps({"socket": str(socket)}))
        wake_owner(self._database)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.hang_up()
        await until(lambda: not self._serving)
        self._folder.cleanup()

    def let_pass(self) -> None:
        """Answer all questions that wait: the bucket holds it."""
        self.say({})

    def say(self, line: dict[str, Any]) -> None:
        """Answer them something; a note leaves them open."""
        waiting = list(self._waiting)
        if "note" not in line:
            self._waiting.clear()
        for writer in waiting:
            writer.write(json.dumps(line).encode() + b"\n")

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._streams:
            writer.close()
        self._waiting.clear()
        self._streams.clear()

    async def until_asked(self, times: int = 1) -> None:
        """Wait until so many questions have come."""
        await until(lambda: self.asked >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.append(writer)
        self._serving += 1
        with suppress(ConnectionError):
            while line := await reader.readline():
                question = json.loads(line)
                assert question == {"ask": "barrier", "database": str(self._database.resolve())}
                self.asked += 1
                if self.is_open:
                    writer.write(b"{}\n")
                else:
                    self._waiting.append(writer)
        writer.close()
        self._serving -= 1


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - it may change in any thread
            await asyncio.sleep(0.005)
