"""
Requests of other processes: a table they insert into, and a datagram that says so.

The datagram is a wake-up, never the message: one that is lost costs a second.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obelisk_ops.core.ports import LogStore
from obelisk_ops.storage.sqlite import beside

_SOCKET = "engine.sock"
_LOOK_S = 1.0
_WAKE_UP = b"!"
_DATAGRAM_BYTES = 1 << 16


class Mailroom:
    """The owner's side: calls *deliver* soon after a letter may have come."""

    def __init__(
        self,
        database: Path,
        store: LogStore,
        deliver: Callable[[], object],
        asked: Callable[[bytes], None],
    ) -> None:
        """
        Listen.

        Args:
            database: The file.
            store: Whose mailbox it is.
            deliver: Told that letters may have come.
            asked: Given a datagram that is no wake-up; see ``enquiry``.
        """
        self._store = store
        self._deliver = deliver
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._seen = -1
        self._path = beside.make_folder(database) / _SOCKET
        self._socket = bind(self._path)
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._on_datagram)
        self._timer = self._loop.call_soon(self._look)

    def close(self) -> None:
        """Stop listening."""
        self._timer.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._path.unlink(missing_ok=True)

    def _on_datagram(self) -> None:
        assert self._socket is not None
        with suppress(BlockingIOError):
            while True:
                datagram = self._socket.recv(_DATAGRAM_BYTES)
                if datagram != _WAKE_UP:
                    self._asked(datagram)
        self._deliver()

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_S, self._look)  # also when this look fails
        changes = self._store.changes()
        if changes != self._seen:
            self._deliver()
            self._seen = changes


def wake_owner(database: Path) -> None:
    """Tell the owner of *database*, if one is there, that a letter waits."""
    with suppress(OSError):
        send(database, _WAKE_UP)


def send(database: Path, datagram: bytes, *, to: str = _SOCKET) -> None:
    """
    Send a datagram to a socket beside *database*: the owner's, if no other is named.

    Raises:
        OSError: Nobody listens there, or cannot take it now.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # noqa: FBT003
        with _short(beside.folder(database) / to) as address:
            sender.sendto(datagram, address)


def bind(path: Path) -> socket.socket | None:
    """Return a socket that listens at *path*; None where that is not possible."""
    path.unlink(missing_ok=True)  # of an owner that was killed; the lock says it is dead
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)  # noqa: FBT003
    try:
        with _short(path) as address:
            receiver.bind(address)
        path.chmod(0o600)
    except OSError:
        receiver.close()
        return None  # a file system without sockets: the look once a second remains
    return receiver


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by its folder's descriptor: socket addresses end at 107 bytes."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():  # noqa: PLR2004
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
