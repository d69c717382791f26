"""A connection to the socket of a Litestream: one request at a time, and its answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from obelisk_ops.core import http
from obelisk_ops.core.http import Reply


class Line(asyncio.Protocol):
    """See the module. With streams an answer would take several rounds of the loop more."""

    def __init__(self) -> None:
        self._come = b""
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[Reply] | None = None

    @classmethod
    async def open(cls, path: Path) -> Line:
        """
        Connect.

        Raises:
            OSError: Nobody listens there.
        """
        loop = asyncio.get_running_loop()
        _, line = await loop.create_unix_connection(cls, str(path))
        return line

    @property
    def is_open(self) -> bool:
        """Whether it can be asked something."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Reply:
        """
        Send *request*, and return the answer. Close it if that is given up.

        Raises:
            OSError: The connection is broken.
            ValueError: What came is no answer.
        """
        if self._transport is None:
            raise ConnectionResetError("it has hung up")
        self._come, self._asked = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._asked

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    # -- what the loop calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._come += data
        self._read(has_ended=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See asyncio.Protocol."""
        self._transport = None
        self._read(has_ended=True)

    def _read(self, *, has_ended: bool) -> None:
        asked = self._asked
        if asked is None or asked.done():
            return
        try:
            reply = http.parse(self._come, has_ended=has_ended)
        except ValueError as wrong:
            asked.set_exception(wrong)
        else:
            if reply is not None:
                asked.set_result(reply)
            elif has_ended:
                asked.set_exception(ConnectionResetError("it hung up without an answer"))
