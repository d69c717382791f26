"""
Requests of other processes: a table they insert into, and a bell that says so.

The bell is a wake-up, never the message: one that is not heard costs a second. Beside a file
it is a socket, to which datagrams are sent; a server tells who listens to it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from obelisk_ops.core.polling import Pace
from obelisk_ops.core.ports import LogStore
from obelisk_ops.errors import OpsError, StorageUnavailable
from obelisk_ops.storage import Address, Place, listen
from obelisk_ops.storage.postgres import Ears
from obelisk_ops.storage.sqlite import beside

_SOCKET = "engine.sock"
_LOOK_S = 1.0
#: what is heard last on a line that was lost
DEAF = "deaf"
#: what a letter is told with that may be for any worker
EVERYBODY = "letter 0"
_WAKE_UP = b"!"
_DATAGRAM_BYTES = 1 << 16


class Watch:
    """Looks once a second whether a file has changed."""

    def __init__(self, store: LogStore, deliver: Callable[[], object]) -> None:
        self._store = store
        self._deliver = deliver
        self._seen: int | None = None

    def look(self) -> float:
        """Look; return after how many seconds to look again."""
        changes = self._store.changes()
        if changes != self._seen:
            self._deliver()
            self._seen = changes
        return _LOOK_S


class Mailroom:
    """The owner's side: calls *deliver* soon after a letter may have come."""

    def __init__(
        self,
        bell: Bell,
        look: Callable[[], float],
        deliver: Callable[[Sequence[str]], bool],
        failed: Callable[[OpsError], object],
    ) -> None:
        """
        Listen.

        Args:
            bell: Rings when a letter comes.
            look: Looks for letters, where the bell was not heard; returns after how many
                seconds to look again.
            deliver: Told that letters may have come, and what was heard of them; returns
                whether to look at once.
            failed: Told why none can come any more.
        """
        self._look_once = look
        self._deliver = deliver
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._bell = bell
        self._bell.hang(self._rang)
        self._timer: asyncio.Handle = self._loop.call_soon(self._look)

    def close(self) -> None:
        """Stop listening."""
        self._timer.cancel()
        self._bell.take_down()

    def look_soon(self) -> None:
        """Look now, whatever was heard."""
        self._timer.cancel()
        self._timer = self._loop.call_soon(self._look)

    def _rang(self, said: Sequence[str]) -> None:
        try:
            if self._deliver(said):
                self.look_soon()
        except StorageUnavailable:
            return  # the next look delivers
        except OpsError as error:
            self._failed(error)

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_S, self._look)  # also when this look fails
        try:
            wait_s = self._look_once()
        except StorageUnavailable:
            return  # a server that is away for a moment
        except OpsError as error:
            self._timer.cancel()
            self._failed(error)
            return
        if self._bell.hang(self._rang):
            self._timer.cancel()
            self._timer = self._loop.call_later(wait_s, self._look)


#: returns how much has happened here, as a number that grows, and how many look for the same
Pulse = Callable[[], tuple[int, int]]
#: told what was heard, where anything was said
Ring = Callable[[Sequence[str]], object]


class Bell(Protocol):
    """
    What is rung when a letter comes.

    Attributes:
        is_barred: Whether nobody tells that a letter comes; it rings by itself.
        pulse: By which it does so.
    """

    is_barred: bool
    pulse: Pulse | None

    def hang(self, ring: Ring) -> bool:
        """Call *ring* from now on; again where it has stopped working. Whether it works."""
        ...

    def take_down(self) -> None:
        """Ring no more. Twice is allowed."""
        ...


class SocketBell:
    """Beside a file: datagrams, of which some are questions."""

    is_barred = False
    pulse: Pulse | None = None

    def __init__(self, database: Path, asked: Callable[[bytes], None]) -> None:
        """
        Bind the socket; without one the look once a second remains.

        Args:
            database: The file.
            asked: Given a datagram that is no wake-up; see ``enquiry``.
        """
        self._asked = asked
        self._path = beside.make_folder(database) / _SOCKET
        self._socket = bind(self._path)
        self._ring: Ring | None = None

    def hang(self, ring: Ring) -> bool:
        """See Bell.hang."""
        if self._socket is not None and self._ring is None:
            self._ring = ring
            asyncio.get_running_loop().add_reader(self._socket, self._on_datagram)
        return True  # or there is none: a file is looked at once a second anyway

    def take_down(self) -> None:
        """See Bell.take_down."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    def _on_datagram(self) -> None:
        assert self._socket is not None
        assert self._ring is not None
        with suppress(BlockingIOError):
            while True:
                datagram = self._socket.recv(_DATAGRAM_BYTES)
                if datagram != _WAKE_UP:
                    self._asked(datagram)
        self._ring(())


class ServerBell:
    """
    On a server: what it tells who listens, on a connection that is replaced if it breaks.

    Behind a pooler it tells nobody. The bell rings by itself then, so that it is looked.

    Attributes:
        is_barred: Whether that is so.
        pulse: By what it is decided when to ring by itself; without it that is never.
    """

    def __init__(self, place: Place, wanted: Callable[[str], bool] | None = None) -> None:
        """Listen to nothing yet; then for letters, or for tasks that are *wanted*."""
        self.is_barred = False
        self.pulse: Pulse | None = None
        self._place, self._wanted = place, wanted
        self._ears: Ears | None = None
        self._pace = Pace()
        self._timer: asyncio.TimerHandle | None = None

    def hang(self, ring: Ring) -> bool:
        """See Bell.hang."""
        if self._ears is None and not self.is_barred:
            ears = listen(self._place, is_task=self._wanted is not None)
            number = ears.fileno()
            self.is_barred = ears.is_barred
            if number is not None:
                self._ears = ears
                asyncio.get_running_loop().add_reader(number, self._heard, number, ring)
        if self.is_barred and self.pulse is not None and self._timer is None:
            self._wind(self.pulse, ring)
        return self._ears is not None or self._timer is not None

    def _wind(self, pulse: Pulse, ring: Ring) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._pace.wait_s, self._look, pulse, ring)

    def _look(self, pulse: Pulse, ring: Ring) -> None:
        looks = self._pace.looks(*pulse())
        self._wind(pulse, ring)
        if looks:
            ring([EVERYBODY])

    def take_down(self) -> None:
        """See Bell.take_down."""
        if self._timer is not None:
            self._timer.cancel()
        if self._ears is not None:
            number = self._ears.fileno()
            asyncio.get_running_loop().remove_reader(number if number is not None else -1)
            self._ears.close()
            self._ears = None

    def _heard(self, number: int, ring: Ring) -> None:
        ears = self._ears
        assert ears is not None
        said = ears.hear()
        if said is None:
            asyncio.get_running_loop().remove_reader(number)
            ears.close()
            self._ears = None  # the next look hangs up another
        mine = [DEAF] if said is None else [one for one in said if self._is_wanted(one)]
        if mine:
            ring(mine)

    def _is_wanted(self, word: str) -> bool:
        return self._wanted is None or self._wanted(word)


def bell_of(address: Address, asked: Callable[[bytes], None]) -> Bell:
    """Return what rings when a letter comes to a database."""
    if isinstance(address, Path):
        return SocketBell(address, asked)
    return ServerBell(address)


def wake_owner(database: Address) -> None:
    """Tell the owner of *database*, if one is there, that a letter waits."""
    if not isinstance(database, Path):
        return  # the server told it with the commit
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
