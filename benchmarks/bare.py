"""
What the same database does without an engine: the floor that ours is measured against.

SQLite: same library, write-ahead log, ``synchronous=FULL``, 1 KB pages as in the engine's own
connection, same table, rows of the same size. Its log begins anew at 4 MB, as SQLite's does
by itself: while it grows a sync takes longer. ``RECYCLED`` is the engine's own limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw
import msgspec
import psycopg

from obelisk_ops.core import events

TABLE = """
CREATE TABLE log (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL
) STRICT
"""
INSERT = (
    "INSERT INTO log VALUES ((1 << 32) + ?, 1700000000000, 'returned', "
    '\'{"n":1000,"ok":1000}\')'
)
READ = (
    "SELECT version, at, kind, body FROM log "
    "WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32 ORDER BY key"
)
POSTGRES_TABLE = b"""
CREATE TABLE log (
    key bigint PRIMARY KEY, at bigint NOT NULL, kind text COLLATE "C" NOT NULL,
    body text NOT NULL
)
"""
POSTGRES_INSERT = (
    b"INSERT INTO log VALUES ((1::bigint << 32) + $1::bigint, 1700000000000, 'returned', "
    b'\'{"n":1000,"ok":1000}\')'
)
#: pages of write-ahead log, after which it begins anew
GROWING, RECYCLED = 4000, 1000


class Commits:
    """One row and one commit at a time."""

    def __init__(self, path: Path, log_pages: int = GROWING) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("page_size", 1024)
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.wal_autocheckpoint(log_pages)
        self._connection.execute(TABLE)
        self._count = 0

    def times(self, count: int) -> list[float]:
        """Commit *count* rows; return the moments at which each began, and the last end."""
        moments = [perf_counter()]
        for _ in range(count):
            self._connection.execute(INSERT, (self._count,))
            self._count += 1
            moments.append(perf_counter())
        return moments

    def close(self) -> None:
        self._connection.close()


class Inserts:
    """One row and one commit at a time on PostgreSQL; the same table, a prepared statement."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._connection.execute(b"CREATE SCHEMA bare")
        self._connection.execute(b"SET search_path TO bare")
        self._connection.execute(POSTGRES_TABLE)
        self._cursor = psycopg.RawCursor(self._connection)
        self._count = 0

    def times(self, count: int) -> list[float]:
        """Commit *count* rows; return the moments at which each began, and the last end."""
        moments = [perf_counter()]
        for _ in range(count):
            self._cursor.execute(POSTGRES_INSERT, (self._count,))
            self._count += 1
            moments.append(perf_counter())
        return moments

    def close(self) -> None:
        self._connection.close()


class _Wait:
    """What the bare loop's code awaits: it is given what the log says."""

    def __await__(self) -> Generator[None, Any, Any]:
        return (yield)


async def _code(steps: int, call: Awaitable[int]) -> int:
    total = 0
    for _ in range(steps):
        total += await call
    return total


def replay(path: Path, key: int, steps: int) -> float:
    """Read one log, decode every body, drive code that checks nothing; return seconds."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    decoders = {kind: msgspec.json.Decoder(body).decode for kind, body in events.BODIES.items()}
    number = msgspec.json.Decoder(int).decode
    began = perf_counter()
    rows: list[Any] = connection.execute(READ, (key,)).fetchall()
    code = _code(steps, _Wait())
    code.send(None)
    try:
        for _version, _at, kind, body in rows:
            decoded = decoders[kind](body)
            if kind == "returned":
                code.send(number(decoded.ok))
    except StopIteration:
        pass
    took = perf_counter() - began
    connection.close()
    return took
