"""
A pooler that gives each transaction another connection, as PgBouncer's transaction mode does.

It speaks PostgreSQL's protocol, and knows of it what such a pooler has to: where a transaction
ends. It cleans nothing up. What one client leaves behind on a connection of the server, the
next that is given it finds; and which that is, is left to chance. Nobody is told the number of
the server's process, and no client may set what a server is started with.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from obelisk_ops.storage.postgres import place
from tests.cable import NAME
from tests.postgres import with_option

#: connections of the server; fewer than clients, so that these have to share
SIZE = 4
_HEAD = struct.Struct("!cI")
_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
#: what PgBouncer lets a client say at its start; all else it refuses
_KNOWN = {
    b"user", b"database", b"application_name", b"client_encoding", b"datestyle", b"timezone",
    b"standard_conforming_strings", b"intervalstyle",
}  # fmt: skip
_TOLD = (
    "server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone",
    "integer_datetimes", "standard_conforming_strings", "IntervalStyle",
)  # fmt: skip


def _message(kind: bytes, body: bytes) -> bytes:
    return _HEAD.pack(kind, 4 + len(body)) + body


async def _read(source: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the kind of a message, and all of it."""
    head = await source.readexactly(_HEAD.size)
    kind, length = _HEAD.unpack(head)
    return kind, head + await source.readexactly(length - 4)


@dataclass(eq=False)
class Backend:
    """
    A connection of the server.

    Attributes:
        client: Who has it now.
        owed: How many answers that one is still to be given.
    """

    made: psycopg.Connection[Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    client: asyncio.StreamWriter | None = None
    owed: int = 0

    def close(self) -> None:
        self.writer.close()
        self.made.close()


@dataclass
class Pooler:
    """
    See the module.

    Attributes:
        url: Where the server is.
        seed: Of chance.
        base_url: Where clients reach it, without a schema.
        who: The user and the database of its connections.
    """

    url: str
    seed: int = 0
    base_url: str = ""
    who: str = ""
    backends: list[Backend] = field(default_factory=list)
    clients: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, folder: Path) -> None:
        self._chance = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opening = self._open(folder)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result()

    async def _open(self, folder: Path) -> asyncio.Server:
        self._freed = asyncio.Condition()
        for _ in range(SIZE):
            await self._connect()
        return await asyncio.start_unix_server(self._serve, path=folder / NAME)

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for backend in self.backends:
                backend.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def through(self, url: str) -> str:
        """Return the URL of a schema that is reached by way of this one."""
        return with_option(self.base_url, f"schema={place.read(url).schema}")

    @property
    def held(self) -> int:
        """How many connections of the server somebody has."""
        return sum(backend.client is not None for backend in self.backends)

    def cut(self) -> None:
        """End the connections of all clients, as the pooler's own end would."""

        def close() -> None:
            for client in [*self.clients]:
                client.transport.abort()

        self._loop.call_soon_threadsafe(close)

    # -- the side of the server ---------------------------------------------------------

    async def _connect(self) -> None:
        """Have libpq make a connection, for whatever is asked of it; and take that over."""
        made = psycopg.connect(
            self.url, autocommit=True, sslmode="disable", gssencmode="disable"
        )
        self.who = f"{made.info.user}@/{made.info.dbname}"
        self._told = [(name, made.info.parameter_status(name) or "") for name in _TOLD]
        line = socket.socket(fileno=os.dup(made.fileno()))
        reader, writer = await asyncio.open_connection(sock=line)
        backend = Backend(made, reader, writer)
        self.backends.append(backend)
        task = self._loop.create_task(self._listen(backend))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, backend: Backend) -> None:
        """Hand on what the server says, and free it when a transaction is over."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind, message = await _read(backend.reader)
                if backend.client is not None:
                    backend.client.write(message)
                if kind != b"Z":
                    continue
                backend.owed -= 1
                if message.endswith(b"I") and backend.owed <= 0:
                    await self._free(backend)
        await self._lose(backend)

    async def _free(self, backend: Backend) -> None:
        backend.client, backend.owed = None, 0
        async with self._freed:
            self._freed.notify_all()

    async def _lose(self, backend: Backend) -> None:
        """Give up a connection, and whoever has it; and make another."""
        if backend not in self.backends:
            return
        self.backends.remove(backend)
        backend.close()
        if backend.client is not None:
            backend.client.close()
        with contextlib.suppress(psycopg.Error):
            await self._connect()
        async with self._freed:
            self._freed.notify_all()

    # -- the side of the clients --------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.add(writer)
        try:
            if await self._greet(reader, writer):
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.clients.discard(writer)
            writer.close()
            for backend in [one for one in self.backends if one.client is writer]:
                backend.client = None
                await self._lose(backend)  # as it was left in the middle of something

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while True:
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            (code,) = struct.unpack("!I", body[:4])
            if code in (_SSL, _GSS):
                writer.write(b"N")
                continue
            if code == _CANCEL:
                return False
            break
        unknown = {name.lower() for name in body[4:].split(b"\0")[:-2:2]} - _KNOWN
        if unknown:
            why = b"unsupported startup parameter: " + unknown.pop()
            writer.write(_message(b"E", b"SFATAL\0C08P01\0M" + why + b"\0\0"))
            return False
        number = self._chance.getrandbits(31)
        writer.write(_message(b"R", bytes(4)))
        for name, value in self._told:
            writer.write(_message(b"S", f"{name}\0{value}\0".encode()))
        writer.write(_message(b"K", struct.pack("!II", number, self._chance.getrandbits(31))))
        writer.write(_message(b"Z", b"I"))
        return True

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            kind, message = await _read(reader)
            if kind == b"X":
                return
            backend = await self._backend_of(writer)
            backend.owed += kind in (b"S", b"Q")
            backend.writer.write(message)

    async def _backend_of(self, client: asyncio.StreamWriter) -> Backend:
        """Return what a client has, or give it any that nobody has."""
        while True:
            for backend in self.backends:
                if backend.client is client:
                    return backend
            free = [backend for backend in self.backends if backend.client is None]
            if free:
                found = self._chance.choice(free)
                found.client, found.owed = client, 0
                return found
            async with self._freed:
                await self._freed.wait()


@contextmanager
def pooling(url: str, seed: int = 0) -> Iterator[Pooler]:
    """Put one before a server."""
    with tempfile.TemporaryDirectory(prefix="pooler-", dir="/tmp") as folder:
        pooler = Pooler(url, seed)
        pooler.start(Path(folder))
        try:
            pooler.base_url = f"postgresql://{pooler.who}?host={folder}"
            yield pooler
        finally:
            pooler.stop()
