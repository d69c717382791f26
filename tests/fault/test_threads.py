"""Too many processes and threads run: it is said, and nothing is ok that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from obelisk_ops.errors import TooManyProcesses
from obelisk_ops.settings import ReplicaSettings
from tests.replicas import count_rows
from tests.supervised import PROGRAM, Supervised, is_safe

pytestmark = pytest.mark.xdist_group("supervise")

#: A user whose processes are counted, for those of root never are: it has none yet, and may do
#: to files what root may. Who is not root has more than one already.
SOMEBODY = 1_000_000 + os.getpid()
AS_SOMEBODY = (
    "setpriv", f"--ruid={SOMEBODY}", "--securebits=+no_setuid_fixup",
    "--bounding-set=-sys_resource,-sys_admin",
)  # fmt: skip

#: The program, which takes on the limit that a file names when it gets SIGUSR1.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from obelisk_ops.cli import main

def take_on(*_):
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (int(limit.read_text() or most), most))

limit = Path(sys.argv.pop(1))
take_on()
signal.signal(signal.SIGUSR1, take_on)
main()
"""


class Counted:
    """A supervisor whose processes and threads are counted, and can be limited."""

    def __init__(self, supervised: Supervised) -> None:
        self.supervised = supervised
        self._file = supervised.folder / "limit"
        self._file.touch()
        counted = AS_SOMEBODY if os.getuid() == 0 else ()
        self.program = (*counted, sys.executable, "-c", LIMITED, self._file)

    def limit(self, most: int | None) -> None:
        self._file.write_text("" if most is None else str(most))

    @contextmanager
    def no_more_than(self, most: int) -> Iterator[None]:
        """Let so many run at most; those that run already go on."""
        self.limit(most)
        self.supervised.tell(signal.SIGUSR1)
        try:
            yield
        finally:
            self.limit(None)
            self.supervised.tell(signal.SIGUSR1)


@pytest.fixture
def counted(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Counted]:
    with Supervised(tmp_path, replica) as supervised:
        yield Counted(supervised)


@pytest.mark.fault(35)
def test_they_run_out_while_it_runs(counted: Counted) -> None:
    """What needs no new one goes on; what does says what it lacks, and comes up by itself."""
    supervised = counted.supervised
    old = supervised.database("old")
    supervised.start(program=counted.program)
    supervised.until_safe("old")

    with counted.no_more_than(1):
        supervised.database("new").write(3)
        row = supervised.until(
            "new",
            lambda row: row.state == "backoff" and "too many processes" in row.detail,
            30,
            "why is said",
        )
        old.write(3)
        supervised.until(
            "old", lambda row: is_safe(row) and (row.replica_txid or 0) > 1, 30, "goes on"
        )
    supervised.until_safe("new", 30)
    status, said = supervised.stop()

    assert status == 0, said
    assert "TasksMax" in row.detail
    assert "Traceback" not in supervised.log_text()
    assert [restored_rows(supervised, name) for name in ("old", "new")] == [3, 3]


@pytest.mark.fault(35)
@pytest.mark.parametrize(
    "spare",
    [
        pytest.param(1, id="none for Litestream"),
        pytest.param(3, id="none for its threads"),
        pytest.param(9, id="none for threads of ours"),
    ],
)
def test_a_start_without_enough_of_them_says_what_to_raise(
    counted: Counted, spare: int
) -> None:
    counted.supervised.database("a").write()
    counted.limit(spare if os.getuid() == 0 else 1)
    command = [*counted.program, "-c", counted.supervised.config, "supervise"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == TooManyProcesses.exit_status
    assert "Traceback" not in done.stderr
    assert "TasksMax" in done.stderr


def restored_rows(supervised: Supervised, name: str) -> int:
    copy = supervised.folder / f"{name}.copy.db"
    argv = [str(PROGRAM), "-c", str(supervised.config), "restore", name, "--to", str(copy)]
    subprocess.run(argv, check=True, capture_output=True, timeout=180)
    return count_rows(copy)
