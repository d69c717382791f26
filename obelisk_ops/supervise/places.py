"""
The state folder: lock, generated configurations, sockets.

    <state_dir>/supervisor.lock     held by the one supervisor of this folder
    <state_dir>/supervisor.json     where it listens
    <state_dir>/lease.json          its lease in the bucket, see lease.py
    <state_dir>/litestream/*.yml    generated configurations
    <state_dir>/run/                sockets, if the path is short enough for one
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from obelisk_ops.supervise.sidecar import Lock, private_folder, write_private

#: A unix socket's path has at most 107 bytes (103 on macOS); ours add 16 to the folder's.
_FOLDER_BYTES_MAX = 103 - 16
_TEMPORARY = "obelisk-ops-"
_CONFIGS = "litestream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Where the supervisor of a state folder listens."""

    pid: int
    socket: str


class Places:
    """The folders of one supervisor, from its start to its end."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        private_folder(state_dir)
        self._lock = Lock(state_dir / "supervisor.lock", f"the state folder {state_dir}")
        self.lease = lease_file(state_dir)
        self.configs = state_dir / _CONFIGS
        private_folder(self.configs)
        for former in self.configs.glob("*.yml"):
            former.unlink(missing_ok=True)
        self.sockets = self._socket_folder()
        self.control = self.sockets / "s.sock"
        pointer = Pointer(pid=os.getpid(), socket=str(self.control))
        write_private(state_dir / "supervisor.json", msgspec.json.encode(pointer))

    def release(self) -> None:
        """Remove what is of use only while the supervisor runs."""
        (self._state_dir / "supervisor.json").unlink(missing_ok=True)
        _remove_temporary(self.sockets)
        self._lock.release()

    def _socket_folder(self) -> Path:
        before = read_pointer(self._state_dir)
        if before is not None:
            _remove_temporary(Path(before.socket).parent)
        beside = self._state_dir / "run"
        if len(os.fsencode(beside)) <= _FOLDER_BYTES_MAX:
            private_folder(beside)
            return beside
        # Made with a name nobody can guess, and for us alone.
        return Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir="/tmp"))


def lease_file(state_dir: Path) -> Path:
    """Return where the supervisor of *state_dir* keeps the id of its lease."""
    return state_dir / "lease.json"


def read_pointer(state_dir: Path) -> Pointer | None:
    """Return where the supervisor of *state_dir* listens; None if none ever told."""
    try:
        return msgspec.json.decode((state_dir / "supervisor.json").read_bytes(), type=Pointer)
    except (OSError, msgspec.DecodeError):
        return None


def config_in_use(state_dir: Path, database: Path) -> str | None:
    """
    Return the configuration of the Litestream that serves *database*.

    None while no supervisor runs for *state_dir*, or it has started no process for it.
    """
    pointer = read_pointer(state_dir)
    if pointer is None or not _is_heard(pointer):
        return None
    files = list((state_dir / _CONFIGS).glob("*.yml"))
    for file in sorted(files, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        text = file.read_text(encoding="utf-8")
        if any(each["path"] == str(database) for each in yaml.safe_load(text)["dbs"]):
            return text
    return None


def _is_heard(pointer: Pointer) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(pointer.socket)
        except OSError:
            return False
    return True


def _remove_temporary(folder: Path) -> None:
    if folder.name.startswith(_TEMPORARY) and folder.parent == Path("/tmp"):  # noqa: S108
        shutil.rmtree(folder, ignore_errors=True)
