"""
PostgreSQL over TLS, as the URL says: who is who, and what is told when that is in doubt.

The server of the tests is built without TLS: something before it speaks that, as a proxy of a
provider does, and lets nobody in without.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from psycopg.conninfo import conninfo_to_dict

from obelisk_ops import Engine, run, workflow
from obelisk_ops.errors import StorageUnavailable
from tests.commands import run_here
from tests.postgres import Postgres, fresh_url, with_option

_WANTS_TLS = bytes.fromhex("0000000804d2162f")
_BYTES = 1 << 16
#: an engine that serves has at least these: to write, to listen, to read
LINES_MIN = 3


@workflow
async def answer() -> int:
    """Return at once."""
    return 42


@dataclass(slots=True)
class Gatehouse:
    """Speaks TLS to whoever comes, and passes on what it hears to a server."""

    context: ssl.SSLContext
    host: str
    port: int
    entered: int = 0
    turned_away: int = 0
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    @contextmanager
    def open(self) -> Iterator[int]:
        """Let people in, on the port that this yields."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        starting = asyncio.start_server(self._meet, "127.0.0.1", 0)
        door = asyncio.run_coroutine_threadsafe(starting, loop).result()
        try:
            yield door.sockets[0].getsockname()[1]
        finally:
            asyncio.run_coroutine_threadsafe(self._shut(door), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _shut(self, door: asyncio.Server) -> None:
        door.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        with suppress(OSError, asyncio.IncompleteReadError):  # who distrusts us hangs up
            if await reader.readexactly(len(_WANTS_TLS)) == _WANTS_TLS:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self.context)
                self.entered += 1
                await self._pass(reader, writer)
            else:
                self.turned_away += 1
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await self._connect()
        try:
            await asyncio.gather(pump(reader, outside), pump(inside, writer))
        finally:
            outside.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self.host}/.s.PGSQL.{self.port}")
        return await asyncio.open_connection(self.host, self.port)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes until nothing does."""
    while block := await source.read(_BYTES):
        target.write(block)
        await target.drain()
    target.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A server behind TLS, and the files of authorities that vouch for it, and do not."""

    url: str
    gatehouse: Gatehouse
    trusted: Path
    stranger: Path

    def verified_by(self, authority: Path) -> str:
        """Return the URL of a fresh schema, of a server that is to prove who it is."""
        url = with_option(fresh_url(self.url), "sslmode=verify-full")
        return with_option(url, f"sslrootcert={authority}")


@pytest.fixture
def secured(postgres: Postgres, tmp_path: Path) -> Iterator[Secured]:
    """Put TLS before a server."""
    trusted, stranger = tmp_path / "trusted.pem", tmp_path / "stranger.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(trusted))
    trustme.CA().cert_pem.write_to_path(str(stranger))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = conninfo_to_dict(postgres.base_url)
    gatehouse = Gatehouse(context, str(server["host"]), int(server.get("port") or 5432))
    user, database = server["user"], server["dbname"]
    with gatehouse.open() as port:
        url = f"postgresql://{user}@127.0.0.1:{port}/{database}?gssencmode=disable"
        yield Secured(url=url, gatehouse=gatehouse, trusted=trusted, stranger=stranger)


def test_a_worker_speaks_tls_on_all_of_its_lines(secured: Secured) -> None:
    """Also where it listens, and where it passes over the driver."""

    async def main(url: str) -> None:
        async with Engine(url, workflows=[answer]) as engine:
            handle = await engine.submit(answer, id="a")
            assert await handle.result() == 42

    url = secured.verified_by(secured.trusted)
    asyncio.run(main(url))

    assert run(answer, db=url, id="a") == 42
    assert run_here("execution", "show", "a", "--db", url).status == 0
    assert secured.gatehouse.entered >= LINES_MIN
    assert secured.gatehouse.turned_away == 0


def test_a_server_that_nobody_vouches_for_is_told_nothing(secured: Secured) -> None:
    with pytest.raises(StorageUnavailable, match="certificate verify failed") as refused:
        run(answer, db=secured.verified_by(secured.stranger))

    assert "sslrootcert" in refused.value.hint
    assert secured.gatehouse.entered == 0


def test_who_speaks_no_tls_hears_that_the_line_was_cut(secured: Secured) -> None:
    told = run_here("execution", "list", "--db", with_option(secured.url, "sslmode=disable"))

    assert told.status == 6
    assert secured.gatehouse.turned_away > 0
