"""A clock that disagrees with the bucket's: Litestream deletes nothing by it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.status import Row
from tests.conftest import S3
from tests.faults import Skewed, Timeless
from tests.proxy import Proxy
from tests.replicas import count_rows
from tests.supervised import PROGRAM, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("clock")

#: Everything that Litestream does in minutes, in a second.
HURRY: dict[str, Any] = {
    "sync_interval": "100ms", "list_interval": "1s", "levels": ["1s"],
    "l0": {"retention": "1s", "check": "1s"},
}  # fmt: skip
#: A supervisor that believes in clocks sooner than within minutes.
HASTY = (
    "from obelisk_ops.supervise import skew; skew.SETTLED_MS = 1_000; "
    "from obelisk_ops.cli import main; main()"
)
#: Less than what a server refuses: Litestream signs by the time that it is told.
OFF_S = 600


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


class Scene:
    """A database that is written to beside a Litestream in a hurry, behind a proxy."""

    def __init__(self, supervised: Supervised, proxy: Proxy) -> None:
        self.supervised, self.proxy = supervised, proxy
        self._database = supervised.database("a")
        self.written = 0

    def until(self, before: int | None, *, is_held: bool) -> int | None:
        """Wait for a process other than *before* that is safe; return its pid."""

        def is_it(row: Row) -> bool:
            told = "clock" in [notice.code for notice in row.notices]
            is_new = row.pid not in {before, None}
            return is_new and is_safe(row) and told is is_held

        row = self.supervised.until("a", is_it, 15, "held" if is_held else "not held")
        assert self.deletes_by_its_file is not is_held
        assert ("Litestream deletes nothing" in row.detail) is is_held
        return row.pid

    def write_for(self, compactions: int) -> None:
        """Write until there were so many compactions more; each makes older files go."""
        until = self._compactions + compactions
        self._write_until(lambda: self._compactions >= until)

    def write_until_something_goes(self) -> None:
        """Write until something was deleted that had not been before."""
        so_far = self.deletions
        self._write_until(lambda: self.deletions > so_far)

    @property
    def deletions(self) -> int:
        return sum(
            seen.method == "DELETE" or (seen.method == "POST" and "delete" in seen.query)
            for seen in self.proxy.seen
        )

    @property
    def deletes_by_its_file(self) -> bool:
        (file,) = self.supervised.folder.glob("**/a.yml")
        told: bool = yaml.safe_load(file.read_text())["retention"]["enabled"]
        return told

    @property
    def _compactions(self) -> int:
        return sum(seen.method == "PUT" and "/0001/" in seen.path for seen in self.proxy.seen)

    def _write_until(self, holds: Callable[[], bool]) -> None:
        def probe() -> bool:
            self._database.write()
            self.written += 1
            return holds()

        wait_until(probe, 30, "it goes on")


@pytest.fixture
def scene(tmp_path: Path, proxy: Proxy, replica: ReplicaSettings) -> Iterator[Scene]:
    place = replace(replica, endpoint=proxy.endpoint)
    with Supervised(tmp_path, place, litestream=HURRY) as running:
        yield Scene(running, proxy)


def rows_restored(supervised: Supervised) -> int:
    copy = supervised.folder / "copy.db"
    command: list[str | Path] = [PROGRAM, "-c", supervised.config, "restore", "a", "--to", copy]
    subprocess.run(command, check=True, timeout=180, stdout=subprocess.DEVNULL)
    return count_rows(copy)


@pytest.mark.fault(7)
@pytest.mark.parametrize(
    ("off_s", "again"),
    [
        pytest.param(-OFF_S, False, id="ahead"),
        pytest.param(-OFF_S, True, id="ahead, and once more", marks=pytest.mark.chaos),
        pytest.param(OFF_S, True, id="behind, and once more", marks=pytest.mark.chaos),
    ],
)
def test_nothing_is_deleted_until_the_clocks_agree(
    scene: Scene, *, off_s: int, again: bool
) -> None:
    """Decided before the first process, and again whenever it changes; no commit is lost."""
    with scene.proxy.fault(Skewed(off_s)):
        scene.supervised.start(program=[sys.executable, "-c", HASTY])
        pid = scene.until(None, is_held=True)
        scene.write_for(compactions=2)
        assert scene.deletions == 0

    pid = scene.until(pid, is_held=False)
    scene.write_until_something_goes()

    if again:
        with scene.proxy.fault(Skewed(off_s)):
            scene.until(pid, is_held=True)
            so_far = scene.deletions
            scene.write_for(compactions=3)
            assert scene.deletions == so_far
    scene.supervised.until_safe("a")
    assert rows_restored(scene.supervised) == scene.written


@pytest.mark.fault(7)
def test_a_bucket_that_does_not_tell_its_time_is_told_of(scene: Scene) -> None:
    with scene.proxy.fault(Timeless()):
        scene.supervised.start()
        scene.until(None, is_held=True)
