"""A line to a PostgreSQL server that can be held: nothing comes through any more."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = ".s.PGSQL.5432"


class Cable:
    """Passes on what programs and a server say to each other, on sockets in two folders."""

    def __init__(self, server: Path, here: Path) -> None:
        self._server, self._here = server / NAME, here / NAME
        self._is_open = threading.Event()
        self._is_open.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        opening = asyncio.start_unix_server(self._join, path=self._here)
        self._opened = asyncio.run_coroutine_threadsafe(opening, self._loop).result()

    def stop(self) -> None:
        self.release()

        async def end() -> None:
            self._opened.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def hold(self) -> None:
        """Let nothing through from now on."""
        self._is_open.clear()

    def release(self) -> None:
        """Let all through again, also what has waited."""
        self._is_open.set()

    async def _join(self, near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far, question = await asyncio.open_unix_connection(self._server)
            await asyncio.gather(self._pump(near, question), self._pump(far, answer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                while not self._is_open.is_set():  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(0.01)
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()


@contextmanager
def cable(server: Path) -> Iterator[tuple[Cable, Path]]:
    """Lay one to the server whose socket is in a folder; and the folder where it begins."""
    with tempfile.TemporaryDirectory(prefix="cable-", dir="/tmp") as folder:
        laid = Cable(server, Path(folder))
        laid.start()
        try:
            yield laid, Path(folder)
        finally:
            laid.stop()
