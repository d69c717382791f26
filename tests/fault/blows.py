"""What happens to a PostgreSQL server, or is done to it, while workers stand on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg

from tests.postgres import PostgresServer, cut, fresh_url
from tests.support import wait_until

Blow = Callable[[PostgresServer], None]

#: a role that is nobody special: of a superuser no limit holds
_ROLE = "worker"


def url_of_a_role(server: PostgresServer) -> str:
    """Return the URL of a fresh schema, for a role with no rights but to make that."""
    ask(server, f"CREATE ROLE {_ROLE} LOGIN")
    ask(server, f"GRANT CREATE ON DATABASE postgres TO {_ROLE}")
    return fresh_url(server.base_url).replace("postgres@", f"{_ROLE}@")


def ask(server: PostgresServer, statement: str) -> list[tuple[object, ...]]:
    """Run a statement as the one who looks after a server."""
    with psycopg.connect(server.base_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def restart(server: PostgresServer) -> None:
    server.stop()
    server.start()


def crash(server: PostgresServer) -> None:
    server.kill()
    server.start()


def behead(server: PostgresServer) -> None:
    """Kill the process that looks after the others; they notice, and end."""
    assert server.child is not None
    server.child.kill()
    server.child.wait()
    server.start()


def lose_a_process(server: PostgresServer) -> None:
    """Kill one that serves a worker, as the system does without memory: all begin anew."""
    seen = said(server, "reinitializing")
    asked = f"SELECT pid FROM pg_stat_activity WHERE usename = '{_ROLE}' LIMIT 1"  # noqa: S608
    [(pid,)] = wait_until(lambda: ask(server, asked), 60, "a worker is there")
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: said(server, "reinitializing") > seen, 60, "all processes have ended")
    wait_until(server.answers, 60, "the server has begun anew")


def crowd(server: PostgresServer) -> None:
    """Let no worker in for a while, and none stay: all connections are others'."""
    seen = said(server, "too many connections")
    ask(server, f"ALTER ROLE {_ROLE} CONNECTION LIMIT 0")
    cut(server)
    wait_until(lambda: said(server, "too many connections") > seen, 60, "one is refused")
    ask(server, f"ALTER ROLE {_ROLE} CONNECTION LIMIT -1")


def fill(server: PostgresServer) -> None:
    """Let the disk be full where the log of the server is, until somebody frees some space."""
    name = _next_segment(server)
    seen = said(server, "PANIC")
    with full(server, "pg_wal", name):
        with suppress(psycopg.OperationalError):  # it may end at that
            ask(server, "SELECT pg_switch_wal()")
        # It ends, begins anew, and cannot write then either.
        wait_until(lambda: said(server, "PANIC") > seen + 1, 60, "it cannot write")
    # As whoever has freed some would: now and then PostgreSQL waits there for itself, for ever.
    crash(server)


@contextmanager
def full(server: PostgresServer, folder: str, name: str) -> Iterator[None]:
    """Let the disk be full for one file of a server."""
    path = server.folder / "data" / folder / name
    kept = path.with_name(f"{name}.kept")
    if path.exists():
        path.rename(kept)
    path.symlink_to(Path("/dev/full"))
    try:
        yield
    finally:
        path.unlink()
        if kept.exists():
            kept.rename(path)


def said(server: PostgresServer, words: str) -> int:
    """Return how often a server has logged something."""
    return (server.folder / "log").read_text().count(words)


@contextmanager
def locked(server: PostgresServer, table: str) -> Iterator[None]:
    """Hold up all who want something of a table, until the server ends or this does."""
    with closing(psycopg.connect(server.base_url)) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def is_held_up(server: PostgresServer, words: str) -> bool:
    """Tell whether a statement waits for a lock."""
    return bool(
        ask(
            server,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"  # noqa: S608
            f" AND pid <> pg_backend_pid() AND query LIKE '%{words}%'",
        )
    )


def _next_segment(server: PostgresServer) -> str:
    [(name,)] = ask(
        server,
        "SELECT pg_walfile_name(pg_current_wal_insert_lsn() + setting::bigint)"
        " FROM pg_settings WHERE name = 'wal_segment_size'",
    )
    return str(name)
