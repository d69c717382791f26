"""``config litestream NAME`` in the shared topology, given to the real program."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.litestream import program
from obelisk_ops.settings import ReplicaSettings, child_environment, credential_environment
from tests.replicas import count_rows
from tests.supervised import PROGRAM, Supervised

pytestmark = pytest.mark.xdist_group("supervise")


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        shared = {"topology": "shared", "databases_per_process": 2}
        running.configure(replica, litestream=shared)
        yield running


def shown(supervised: Supervised, name: str) -> Path:
    """Write what the command prints into a file."""
    file = supervised.folder / f"{name}.yml"
    command: list[str | Path] = [PROGRAM, "-c", supervised.config, "config", "litestream", name]
    file.write_bytes(
        subprocess.run(command, check=True, timeout=180, capture_output=True).stdout
    )
    return file


def litestream(replica: ReplicaSettings, *arguments: str | Path) -> str:
    """Run the real program, and return what it prints."""
    env = child_environment(credential_environment(replica))
    argv: list[str | Path] = [program.find(), *arguments]
    done = subprocess.run(
        argv, env=env, timeout=180, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_of_a_shared_process_restores_each_of_its_databases(
    supervised: Supervised, replica: ReplicaSettings
) -> None:
    databases = {name: supervised.database(name) for name in "abc"}
    for count, database in enumerate(databases.values(), start=1):
        database.write(count)
    supervised.start()
    rows = {name: supervised.until_safe(name, 20) for name in databases}

    for name, count in (("a", 1), ("b", 2), ("c", 3)):
        file, copy = shown(supervised, name), supervised.folder / f"{name}.copy"
        listed = litestream(replica, "databases", "-config", file)
        together = {n for n in databases if rows[n].pid == rows[name].pid}
        assert {n for n in databases if f"/runs/{n}.db" in listed} == together
        litestream(replica, "restore", "-config", file, "-o", copy, rows[name].path)
        assert count_rows(copy) == count


def test_the_example_while_nothing_runs_goes_on_where_the_shared_process_stopped(
    supervised: Supervised, replica: ReplicaSettings
) -> None:
    databases = {name: supervised.database(name) for name in "abc"}
    for database in databases.values():
        database.write()
    supervised.start()
    path = supervised.until_safe("b", 20).path
    supervised.stop()
    databases["b"].write(4)

    file, copy = shown(supervised, "b"), supervised.folder / "copy"
    litestream(replica, "replicate", "-config", file, "-no-expand-env", "-once")
    litestream(replica, "restore", "-config", file, "-o", copy, path)

    assert file.read_text().startswith("# An example")
    assert count_rows(copy) == 5
