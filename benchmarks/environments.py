"""A virtual environment for each peer, made on demand under a cache folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import ROOT

CACHE = ROOT / ".bench"
INSTALL_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """
    Another engine.

    Attributes:
        name: What the tables call it.
        package: Its name on PyPI.
        module: The module of ``benchmarks.peers`` that drives it.
        python: The oldest Python that it accepts.
        variant: Names the folder that it works in; see the module.
        settings: How durable it is, for the tables.
        size: Which size of its programs; slow ones take fewer workflows at once.
    """

    name: str
    package: str
    module: str
    python: tuple[int, int] = (3, 11)
    variant: str = "plain"
    settings: str
    size: str = "full"


PEERS = (
    Peer(
        name="DBOS", package="dbos", module="dbos", size="less",
        settings="rollback journal (no pragma set), synchronous=FULL; 200 x 5, 2000 replayed",
    ),
    Peer(
        name="DBOS, WAL", package="dbos", module="dbos", size="less", variant="wal",
        settings="file put in WAL mode beforehand, synchronous=FULL; 200 x 5, 2000 replayed",
    ),
    Peer(
        name="unhinged", package="unhinged", module="unhinged",
        settings="WAL, synchronous=FULL; 8 worker threads",
    ),
    Peer(
        name="dura", package="dura", module="dura", python=(3, 13),
        settings="WAL, synchronous=FULL; 8 worker threads",
    ),
)  # fmt: skip


class Missing(Exception):
    """A peer cannot be run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A peer's own Python, and what is installed there."""

    python: Path
    version: str


def prepare(peer: Peer) -> Ready:
    """
    Return the environment of a peer, made if need be.

    Raises:
        Missing: It cannot be made.
    """
    python = CACHE / peer.package / "bin" / "python"
    if not python.exists():
        interpreter = next(_interpreters(peer.python), None)
        if interpreter is None:
            wanted = ".".join(map(str, peer.python))
            raise Missing(f"not run: it needs Python {wanted}, and there is none here")
        _check([str(interpreter), "-m", "venv", str(python.parents[1])])
    if _version(python, peer.package) is None:
        _check([str(python), "-m", "pip", "install", "--quiet", peer.package])
    found = _version(python, peer.package)
    if found is None:
        raise Missing(f"not run: {peer.package} could not be installed")
    return Ready(python, found)


def _version(python: Path, package: str) -> str | None:
    code = (
        "import sys, importlib.metadata as m; v = sys.version_info; "
        f"print(m.version({package!r}), f'on Python {{v.major}}.{{v.minor}}')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _interpreters(oldest: tuple[int, int]) -> Iterator[Path]:
    """Yield Pythons that are new enough: this one, those on PATH, those of pyenv."""
    if sys.version_info[:2] >= oldest:
        yield Path(sys.executable)
    for minor in range(oldest[1], oldest[1] + 6):
        name = f"python3.{minor}"
        places = [Path(shutil.which(name) or ""), *_of_pyenv(name)]
        yield from (place for place in places if place.is_file() and _runs(place))


def _of_pyenv(name: str) -> list[Path]:
    return sorted((Path.home() / ".pyenv" / "versions").glob(f"*/bin/{name}"))


def _runs(python: Path) -> bool:
    """Return whether it can make an environment; a shim of another version cannot."""
    argv = [str(python), "-c", "import venv, sqlite3"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _check(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it failed and said nothing"]
        raise Missing(f"not run: {' '.join(argv[1:4])}: {told[-1][:200]}")
