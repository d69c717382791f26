"""
The ports of an embedded server.

All of them are chosen: what is left out SeaweedFS opens at a fixed number, and
a second server on the machine fails. They lie below the range from which the
kernel takes ports for outgoing connections, so that a stopped server finds
them free again.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import msgspec

from obelisk_ops.errors import S3Unavailable

HOST = "127.0.0.1"

_FIRST, _LAST = 15_000, 31_999
_TRIES_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One port for each thing that listens."""

    s3: int
    s3_grpc: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    admin: int
    admin_grpc: int


def choose(s3: int, folder: Path) -> Ports:
    """
    Return the ports of the last start if all are free, else new ones.

    Args:
        s3: The S3 port that was asked for; 0 is any.
        folder: The folder of the server.

    Raises:
        S3Unavailable: The port that was asked for is in use.
    """
    if s3 and not is_free(s3):
        raise S3Unavailable(
            f"port {s3} is in use", hint="choose another one, or 0 for a free one"
        )
    last = _last(folder)
    if last and s3 in {0, last.s3} and all(is_free(port) for port in astuple(last)):
        return last
    taken = {s3} if s3 else set[int]()
    names = [field.name for field in fields(Ports)]
    return Ports(**{name: s3 if s3 and name == "s3" else _free(taken) for name in names})


def keep(chosen: Ports, folder: Path) -> None:
    """Remember *chosen* for the next start."""
    (folder / "ports.json").write_bytes(msgspec.json.encode(chosen))


def forget(folder: Path) -> None:
    """Choose anew at the next start."""
    (folder / "ports.json").unlink(missing_ok=True)


def is_free(port: int) -> bool:
    """Return whether nothing listens at *port*."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True


def answers(port: int) -> bool:
    """Return whether something accepts a connection at *port*."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=0.5):
        return True
    return False


def remove_sockets(chosen: Ports) -> None:
    """Remove the local sockets that SeaweedFS leaves behind, named after its ports."""
    for port in astuple(chosen):
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 — fixed in SeaweedFS
            with suppress(OSError):
                left.unlink()


def _last(folder: Path) -> Ports | None:
    try:
        return msgspec.json.decode((folder / "ports.json").read_bytes(), type=Ports)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _free(taken: set[int]) -> int:
    for _ in range(_TRIES_MAX):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise S3Unavailable(
        f"no free port between {_FIRST} and {_LAST}", hint="stop what holds them"
    )
