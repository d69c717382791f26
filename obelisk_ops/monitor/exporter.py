"""
Serves the metrics on a port of this machine.

A scrape reads what the supervisor knows and touches no bucket. That the port is taken
stops no backup: it is said, and tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from obelisk_ops.monitor import http
from obelisk_ops.monitor.exposition import Snapshot, render
from obelisk_ops.monitor.tally import Tally
from obelisk_ops.settings import MetricsSettings
from obelisk_ops.supervise.companion import View

_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_REQUEST_S = 5.0
_HEAD_BYTES_MAX = 16 * 1024
_AT_ONCE = 4
_RETRY_S = 1.0


class Exporter:
    """The port that metrics are fetched from; see Companion."""

    def __init__(self, settings: MetricsSettings, tally: Tally) -> None:
        self._settings, self._tally = settings, tally
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, view: View) -> None:
        """Listen until cancelled."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_REQUEST_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    async with self._slots:
                        writer.write(await self._answer(head, view))
                    await writer.drain()
            writer.close()

        server = await self._listen(serve)
        try:
            await server.serve_forever()
        finally:
            server.close()

    async def _listen(self, serve: _Serve) -> asyncio.Server:
        host, port = self._settings.host, self._settings.port
        is_told = False
        while True:
            try:
                server = await asyncio.start_server(serve, host, port, limit=_HEAD_BYTES_MAX)
            except OSError as error:
                if not is_told:
                    why = error.strerror or str(error)
                    self._tally.warning("metrics", address=self._settings.listen, error=why)
                is_told = True
                await asyncio.sleep(_RETRY_S)
            else:
                address = server.sockets[0].getsockname()
                self._tally.info("metrics", host=address[0], port=address[1])
                return server

    async def _answer(self, head: bytes, view: View) -> bytes:
        asked = http.read(head, hosts=self._settings.hosts)
        if asked.status != 200:  # noqa: PLR2004 - the one status of HTTP that all know
            return http.answer(asked.status, "text/plain", b"")
        snapshot = Snapshot(
            rows=view.rows(),
            facts=view.facts(),
            starts=self._tally.events["litestream_started"],
            warnings=dict(self._tally.warnings),
        )
        # A thousand databases are a megabyte of text: not while the supervisor waits.
        body, kind = await asyncio.to_thread(render, snapshot, asked.accept)
        return http.answer(asked.status, kind, body, has_body=asked.has_body)
