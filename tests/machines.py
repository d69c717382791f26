"""Several machines in one: a folder, a supervisor and a line to the bucket for each."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import apsw

from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.sidecar import Sidecar
from tests.proxy import Proxy
from tests.supervised import PROGRAM, Supervised

#: The time to live of one that is to lose it, in seconds.
TTL_S = 2
#: That of one that must not, however long it stands still on a busy machine.
LASTING_S = 30


class Machines:
    """
    Machines that share a bucket, and look after a database `a` each.

    Attributes:
        lines: Between each of them and the bucket, to be cut.
    """

    def __init__(self, folder: Path, replica: ReplicaSettings) -> None:
        self.replica = replica
        self.lines: dict[str, Proxy] = {}
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, host: str, *, ttl_s: int = TTL_S, **more: Any) -> Supervised:
        """Add a machine; its supervisor is not started."""
        folder = self._folder / host
        folder.mkdir(exist_ok=True)
        assert self.replica.endpoint is not None
        port = int(self.replica.endpoint.rpartition(":")[2])
        line = self.lines[host] = self._stack.enter_context(Proxy(port))
        reached = replace(self.replica, endpoint=line.endpoint)
        made = Supervised(folder, reached, host=host, lease={"ttl": f"{ttl_s}s"}, **more)
        return self._stack.enter_context(made)

    @property
    def store(self) -> ObjectStore:
        """The bucket, on a line that is never cut."""
        return open_store(self.replica)

    @property
    def keys(self) -> ReplicaKeys:
        """The keys of the database `a`."""
        return ReplicaKeys(prefix=self.replica.prefix, name="a")


def copy_runs(source: Supervised, target: Supervised) -> None:
    """Copy the databases of one machine to another, with all that is beside them."""
    shutil.copytree(
        source.folder / "runs",
        target.folder / "runs",
        symlinks=True,
        ignore=shutil.ignore_patterns(".*.new"),  # notes that are just being replaced
    )


def ops(machine: Supervised, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine, to its end."""
    command = [str(PROGRAM), "-c", str(machine.config), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def points(machine: Supervised) -> Sequence[Any]:
    """Return the restore points of `a`."""
    found: Sequence[Any] = json.loads(ops(machine, "replica", "points", "a", "--json").stdout)[
        "points"
    ]
    return found


def rows_at(machine: Supervised, at: str = "latest") -> list[Any]:
    """Return the rows of the table `t` of `a`, restored to a moment."""
    target = machine.folder / "restored.db"
    done = ops(machine, "restore", "a", "--at", at, "--to", target)
    assert done.returncode == 0, done.stderr
    rows = rows_of(target)
    shutil.rmtree(Sidecar(target).folder)
    target.unlink()
    return rows


def rows_of(path: Path) -> list[Any]:
    """Return the rows of the table `t` of a file, in the order in which they were written."""
    connection = apsw.Connection(str(path))
    rows = [row for (row,) in connection.execute("SELECT a FROM t ORDER BY rowid")]
    connection.close()
    return rows
