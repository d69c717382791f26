"""``exec`` as a container would run it: a folder that is the volume, and a program to run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

from obelisk_ops.settings import ReplicaSettings
from tests.supervised import PROGRAM
from tests.support import PATIENCE_S, wait_until

#: Adds a row to the database of its first argument, and prints how many there are.
ADDS_A_ROW = """
import apsw, sys
db = apsw.Connection(sys.argv[1])
db.set_busy_timeout(5000)
db.execute("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (a)").fetchall()
db.execute("INSERT INTO t VALUES (1)")
print(db.execute("SELECT count(*) FROM t").get, flush=True)
"""
#: Adds a row too, and stays; ends with status 5 at a SIGTERM, and names other signals.
STAYS = (
    ADDS_A_ROW
    + """
import signal
def heard(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        raise SystemExit(int(sys.argv[2]))
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
    signal.signal(number, heard)
print("ready", flush=True)
while True:
    signal.pause()
"""
)


class Entry:
    """
    A volume with a database ``orders``, and what runs on it.

    Attributes:
        database: Where the database is to be.
    """

    def __init__(self, folder: Path, replica: ReplicaSettings, **more: object) -> None:
        self._folder = folder
        self.volume = folder / "volume"
        self.database = self.volume / "orders.db"
        self._config = folder / "obelisk-ops.yml"
        self._out = folder / "out"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(replica, **more)
        self.volume.mkdir(exist_ok=True)

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

    def configure(self, replica: ReplicaSettings, **more: object) -> None:
        """Write the configuration."""
        place = {"url": replica.url, "endpoint": replica.endpoint, "region": replica.region}
        self._config.write_text(
            yaml.safe_dump(
                {
                    "replica": place | {"credentials": replica.credentials},
                    "databases": [{"path": "volume/orders.db"}],
                    "state_dir": "volume/.obelisk-ops",
                    **more,
                }
            )
        )

    def lose_the_disk(self) -> None:
        """Begin with an empty volume, as another machine would."""
        shutil.rmtree(self.volume)
        self.volume.mkdir()

    def command(self, options: Sequence[str], argv: Sequence[str]) -> list[str]:
        """Return the whole command line."""
        return [str(PROGRAM), "-c", str(self._config), "exec", *options, "--", *argv]

    def run(
        self, *options: str, argv: Sequence[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that adds a row, or another one, to its end."""
        command = self.command(options, argv or self.python(ADDS_A_ROW))
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    def start(self, *options: str, argv: Sequence[str] | None = None, status: int = 5) -> Self:
        """Start a program that adds a row and stays; return when it runs."""
        command = self.command(options, argv or self.python(STAYS, str(status)))
        with self._out.open("wb") as out, self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=out, stderr=log)
        wait_until(lambda: "ready" in self.out or self._is_over(), 30, "it is ready")
        return self

    def python(self, code: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", code, str(self.database), *arguments]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def out(self) -> str:
        """What the program has printed."""
        return self._out.read_text()

    @property
    def said(self) -> str:
        """What was said on stderr."""
        return self._log.read_text()

    @property
    def litestream(self) -> psutil.Process:
        """The one Litestream that runs."""
        (found,) = (c for c in self.children if "replicate" in c.cmdline())
        return found

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of the log that tell of one kind of event."""
        lines = [line for line in self.said.splitlines() if line.startswith("{")]
        return [told for told in map(json.loads, lines) if told["event"] == event]

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(timeout_s)

    def _is_over(self) -> bool:
        assert self.process.poll() is None, self.said
        return False
