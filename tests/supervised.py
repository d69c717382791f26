"""A supervisor as a process of its own, and databases for it, written by plain SQLite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw
import psutil
import yaml

from obelisk_ops.settings import ReplicaSettings, load
from obelisk_ops.supervise.report import report
from obelisk_ops.supervise.status import Row
from tests.support import PATIENCE_S, wait_until, within

PROGRAM = Path(sys.executable).with_name("obelisk-ops")
#: What is safe by then was never called late: three sync intervals, without the time between
#: two looks.
IN_TIME_S = 2.4


class Plain:
    """A database of somebody who has never heard of us."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(5_000)
        script = "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (a)"
        self._connection.execute(script).fetchall()

    def write(self, count: int = 1) -> None:
        """Commit *count* times."""
        for number in range(count):
            self._connection.execute("INSERT INTO t VALUES (?)", (number,))

    def write_one(self, value: str) -> None:
        """Commit one row of this content."""
        self._connection.execute("INSERT INTO t VALUES (?)", (value,))

    def close(self) -> None:
        """Close it; the write-ahead log goes away if nobody else has it open."""
        self._connection.close()


class Supervised:
    """A folder with a configuration, and the supervisor that is started on it."""

    def __init__(
        self,
        folder: Path,
        replica: ReplicaSettings,
        *,
        state_dir: str = ".obelisk-ops",
        **more: Any,
    ) -> None:
        self.folder = folder
        self.config = folder / f"config{state_dir}.yml"
        self._log = folder / f"log{state_dir}"
        self._process: subprocess.Popen[bytes] | None = None
        self._open: list[Plain] = []
        self.configure(replica, state_dir=state_dir, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        for database in self._open:
            database.close()

    def configure(
        self,
        replica: ReplicaSettings,
        *,
        state_dir: str = ".obelisk-ops",
        databases: Sequence[Mapping[str, str]] = ({"path": "runs/*.db", "name": "{stem}"},),
        **more: object,
    ) -> None:
        """Write the configuration."""
        place = {"url": replica.url, "endpoint": replica.endpoint, "region": replica.region}
        settings = {
            "replica": place | {"credentials": replica.credentials},
            "databases": [dict(entry) for entry in databases],
            "state_dir": state_dir,
            **more,
        }
        self.config.write_text(yaml.safe_dump(settings))

    def database(self, name: str) -> Plain:
        """Create or open a database that is closed at the end."""
        database = Plain(self.folder / "runs" / f"{name}.db")
        self._open.append(database)
        return database

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def litestreams(self) -> dict[str, int]:
        """The Litestream processes, by the name of their database."""
        found = {}
        for child in psutil.Process(self.pid).children():
            with suppress(psutil.Error):  # it has ended since
                command = child.cmdline()
                if len(command) > 3 and command[1] == "replicate":
                    found[Path(command[3]).stem] = child.pid
        return found

    def start(
        self, *, files: int | None = None, program: Sequence[str | Path] = (PROGRAM,)
    ) -> Self:
        """Start it, allowed to have so many *files* open, and wait until it is ready."""
        limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "-"] if files else []
        with self._log.open("wb") as log, self._log.with_suffix(".out").open("wb") as out:
            self._process = subprocess.Popen(
                [*limited, *program, "-c", self.config, "supervise"], stdout=out, stderr=log
            )
        wait_until(lambda: self.logged("ready") or self._process_ended(), 20, "ready")
        return self

    def once(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it with --once to its end."""
        command = [str(PROGRAM), "-c", str(self.config), "supervise", "--once", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """Ask it to stop; return its exit status and what it printed."""
        assert self._process is not None
        self._process.terminate()
        return self.ended(timeout_s)

    def ended(self, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """Wait for its end; return its exit status and what it printed."""
        assert self._process is not None
        status = self._process.wait(timeout_s)
        return status, self._log.with_suffix(".out").read_text()

    def crash(self) -> None:
        """End it the way nobody wants."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def status(self) -> tuple[dict[str, Row], int]:
        """Return what `status` says, by name, and its exit status."""
        rows, exit_status = report(load(self.config))
        return {row.name: row for row in rows}, exit_status

    def row(self, name: str) -> Row | None:
        """Return what `status` says of one database."""
        return self.status()[0].get(name)

    def until(
        self, name: str, holds: Callable[[Row], object], timeout_s: float, what: str
    ) -> Row:
        """Wait until something holds of a database's status; see ``wait_until``."""
        return self.within(max(timeout_s, PATIENCE_S), name, holds, what)

    def within(
        self, limit_s: float, name: str, holds: Callable[[Row], object], what: str
    ) -> Row:
        """Return a database's status of which something holds, which has to be by then."""
        last: list[Row | None] = [None]

        def probe() -> bool:
            last[0] = self.row(name)
            return last[0] is not None and bool(holds(last[0]))

        try:
            within(limit_s, probe, f"{name}: {what}")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{last[0]}\n{self.log_text()}") from None
        assert last[0] is not None
        return last[0]

    def until_safe(self, name: str, timeout_s: float = 10) -> Row:
        """Wait until everything of a database is proven to be in the bucket."""
        return self.until(name, is_safe, timeout_s, "ok and nothing unsent")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of its log that tell of one kind of event."""
        lines = self.log_text().splitlines()
        events = (json.loads(line) for line in lines if line.endswith("}"))
        return [told for told in events if told["event"] == event]

    def log_text(self) -> str:
        """Return its whole log."""
        return self._log.read_text()

    def _process_ended(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_text()
        return False


def is_safe(row: Row) -> bool:
    """Tell whether everything is proven to be in the bucket."""
    return row.state == "ok" and row.unsent_transactions == 0 and bool(row.replica_txid)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Let processes stand still for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
