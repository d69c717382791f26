"""Running commands inside the test's own process: quick, and with the exit status."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pytest

from obelisk_ops.cli import main
from obelisk_ops.settings import ReplicaSettings
from tests.replicas import write_config


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """Its JSON on stdout."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The error object on the last line of stderr."""
        error: dict[str, str] = json.loads(self.err.splitlines()[-1])["error"]
        assert error["hint"] or error["message"]
        return error


class Commands:
    """The command line with one configuration."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def run(self, *arguments: str | Path) -> Ran:
        """Run one command to its end."""
        return run_here("-c", self._config, *arguments)


def run_here(*arguments: str | Path) -> Ran:
    """Run a command, and what it goes on with in a child: both print into the same files."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
            main([*map(str, arguments)])
        return Ran(int(left.value.code or 0), _written(out), _written(err))


def _written(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def commands_for(place: ReplicaSettings, folder: Path) -> Commands:
    """Return the command line of somebody who replicates to *place*."""
    return Commands(write_config(folder, place))
