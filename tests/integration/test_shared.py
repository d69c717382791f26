"""Databases that share a Litestream process: real ones, with a real S3 server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.status import Row
from tests.replicas import count_rows
from tests.supervised import PROGRAM, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise")

SHARED = {"topology": "shared", "databases_per_process": 4}


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        running.configure(replica, litestream=SHARED)
        yield running


def all_safe(supervised: Supervised, count: int) -> dict[str, Row]:
    """Wait until so many databases are safe; return what status says of them."""
    found: dict[str, Row] = {}

    def probe() -> bool:
        found.update(supervised.status()[0])
        return len(found) == count and all(map(is_safe, found.values()))

    wait_until(probe, 20, f"{count} databases are safe")
    return found


def test_a_change_of_the_set_restarts_only_the_process_concerned(
    supervised: Supervised,
) -> None:
    databases = {name: supervised.database(name) for name in "abcde"}
    for database in databases.values():
        database.write(3)
    supervised.start()
    before = all_safe(supervised, 5)

    databases["a"].write(2)
    supervised.database("f").write()
    began = time.monotonic()
    supervised.until_safe("f")
    took_s = time.monotonic() - began
    after = all_safe(supervised, 6)

    assert len({row.pid for row in before.values()}) == 2
    assert [before[name].pid for name in "abcd"] == [after[name].pid for name in "abcd"]
    assert after["e"].pid == after["f"].pid != before["e"].pid
    assert {row.epoch for row in after.values()} == {1}
    assert took_s < 3
    # One start of each group, and one more for the newcomer.
    assert len(supervised.logged("litestream_started")) == 3
    assert not supervised.logged("litestream_killed")

    status, said = supervised.stop()

    assert status == 0, said
    copy = supervised.folder / "copy.db"
    subprocess.run(
        [PROGRAM, "-c", supervised.config, "restore", "a", "--to", copy], check=True, timeout=60
    )
    assert count_rows(copy) == 5
