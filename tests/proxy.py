"""A TCP proxy that tests put between a program and a server, to break the line on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

Mode = Literal["pass", "refuse", "blackhole", "reset"]


class Proxy:
    """
    Forwards to one port of this machine; ``set`` says how it behaves from now on.

    pass: as if it were not there. refuse: nothing listens, open lines are cut.
    blackhole: lines open and stay open, no byte comes through. reset: lines
    open, and are reset at their first byte; open ones are reset now.

    A line that has carried *hold_after* bytes carries no more: whoever reads something
    large is caught at work, for as long as it takes.
    """

    def __init__(self, target_port: int, *, hold_after: int | None = None) -> None:
        self._target_port = target_port
        self._hold_after = hold_after
        self._mode: Mode = "pass"
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.set("pass")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def set(self, mode: Mode) -> None:
        """Behave like *mode* from now on, open lines included."""
        asyncio.run_coroutine_threadsafe(self._set(mode), self._loop).result(10)

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        self._passing.set() if mode == "pass" else self._passing.clear()
        if mode in {"refuse", "reset"}:
            self._cut()
        if mode == "refuse" and self._server:
            self._server.close()
            self._server = None
        elif mode != "refuse" and not self._server:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        await self._set("refuse")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _cut(self) -> None:
        for line in self._lines:
            # With no time to linger a close is a reset, not a polite end.
            sock = line.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            self._lines.discard(writer)
            return
        self._lines.add(there)
        try:
            await asyncio.gather(self._pump(reader, there), self._pump(there_reader, writer))
        except asyncio.CancelledError:
            return  # the end of the proxy; raised on, asyncio would report it
        finally:
            for line in (writer, there):
                line.transport.abort()
                self._lines.discard(line)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                carried += len(piece)
                if self._hold_after is not None and carried > self._hold_after:
                    await asyncio.Event().wait()
                if self._mode == "reset":
                    self._cut()
                await self._passing.wait()
                writer.write(piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
