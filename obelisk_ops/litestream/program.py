"""The program itself: where it is, whether it is new enough, how it is started."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from obelisk_ops import process
from obelisk_ops.errors import ProgramMissing, TooManyProcesses

#: Older ones stall without a word or carry an SQLite with the WAL-reset bug.
MINIMUM = (0, 5, 17)

_VERSION_TIMEOUT_S = 10.0
_INSTALL = "install it with: pip install 'obelisk-ops[litestream]'"

#: How a Go program says, in a report of its own death, that it got no thread.
_NO_THREAD = "failed to create new OS thread"


def find() -> Path:
    """
    Return the program.

    Raises:
        ProgramMissing: It is neither beside this Python nor on PATH.
    """
    found = process.find_program("litestream")
    if found is None:
        raise ProgramMissing("there is no program 'litestream'", hint=_INSTALL)
    return found


def check_version(program: Path, env: Mapping[str, str]) -> str:
    """
    Return the version of *program*.

    Raises:
        ProgramMissing: It does not run, or is older than MINIMUM.
        TooManyProcesses: The system starts no more of them, or no thread for it.
    """
    said = _ask_version(program, env)
    if _NO_THREAD in said:
        raise TooManyProcesses(f"{program} gets no thread", hint=process.MORE_PROCESSES)
    version = parse_version(said)
    if version is None:
        raise ProgramMissing(
            f"{program} does not say its version: {said[:80]!r}", hint=_INSTALL
        )
    text = ".".join(map(str, version))
    if version < MINIMUM:
        needed = ".".join(map(str, MINIMUM))
        raise ProgramMissing(f"{program} is version {text}, needed is {needed}", hint=_INSTALL)
    return text


def parse_version(said: str) -> tuple[int, ...] | None:
    """Return the numbers of a version such as ``v0.5.17``; None if there are none."""
    found = re.match(r"\s*(?:litestream\s+)?v?(\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else None


def replicate_argv(program: Path, config: Path) -> list[str]:
    """Return the command that replicates what *config* names."""
    return [str(program), "replicate", "-config", str(config), "-no-expand-env"]


def _ask_version(program: Path, env: Mapping[str, str]) -> str:
    try:
        done = process.run([program, "version"], env=env, timeout_s=_VERSION_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and process.is_exhausted(error):
            why = f"{program} cannot be started: too many processes or threads run"
            raise TooManyProcesses(why, hint=process.MORE_PROCESSES) from None
        raise ProgramMissing(f"{program} does not run: {error}", hint=_INSTALL) from None
    return done.stdout or done.stderr
