"""A service manager for tests: the socket of ``sd_notify``, and what was said to it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import wait_until


class Manager:
    """
    Hears what a service says.

    Attributes:
        given: The value of NOTIFY_SOCKET.
        heard: Every message, each as its lines.
    """

    def __init__(self, folder: Path | None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # noqa: FBT003
        if folder is None:
            name = f"obelisk-ops-test-{secrets.token_hex(8)}"
            self.given = f"@{name}"
            self._socket.bind(f"\0{name}")
        else:
            self.given = str(folder / "notify")
            self._socket.bind(self.given)
        self.heard: list[dict[str, str]] = []
        self._heard_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def listen(self) -> list[dict[str, str]]:
        """Take in what has come by now, and return all that was ever heard."""
        while True:
            try:
                message = self._socket.recv(65_536).decode()
            except BlockingIOError:
                return self.heard
            self._heard_at = time.monotonic()
            self.heard.append(dict(line.split("=", 1) for line in message.split("\n")))

    @property
    def silent_s(self) -> float:
        """How long nothing has come."""
        self.listen()
        return time.monotonic() - self._heard_at

    def until(self, holds: Callable[[dict[str, str]], object], what: str) -> dict[str, str]:
        """Return the first message of which something holds, wait for it if need be."""
        return wait_until(lambda: [said for said in self.listen() if holds(said)], 15, what)[0]

    def index(self, name: str, after: int = -1) -> int:
        """Return the place of the first message with *name* behind another place."""
        places = (i for i, said in enumerate(self.listen()) if i > after and name in said)
        found = next(places, None)
        assert found is not None, f"no {name} in {self.heard[after + 1 :]}"
        return found
