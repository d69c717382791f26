"""The real PgBouncer in its transaction mode, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from obelisk_ops.process.nature import die_with_parent
from tests.pooler import SIZE
from tests.postgres import as_nobody
from tests.support import wait_until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
_SETTINGS = """\
[databases]
{database} = {server}
[pgbouncer]
pool_mode = transaction
auth_type = any
listen_port = 5432
unix_socket_dir = {folder}
default_pool_size = {size}
server_round_robin = 1
"""


@contextmanager
def pgbouncing(url: str) -> Iterator[str]:
    """Put one before a server; and yield the URL by which clients reach it."""
    assert PROGRAM is not None
    given = psycopg.conninfo.conninfo_to_dict(url)
    names = ("host", "port", "user", "password")
    known: dict[str, Any] = {name: given[name] for name in names if name in given}
    with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir="/tmp") as folder:
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(
            _SETTINGS.format(
                database=given["dbname"], server=psycopg.conninfo.make_conninfo(**known),
                folder=folder, size=SIZE,
            )
        )  # fmt: skip
        as_who = as_nobody()
        if as_who:
            os.chown(folder, as_who["user"], as_who["group"])
        child = subprocess.Popen(
            [PROGRAM, "-q", settings], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent, **as_who,  # noqa: PLW1509
        )  # fmt: skip
        there = f"postgresql://{given['user']}@/{given['dbname']}?host={folder}"
        try:
            wait_until(lambda: _answers(there), 30, "PgBouncer answers")
            yield there
        finally:
            child.kill()
            child.wait()


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False
