"""One request over a connection that is open, and its answer, which one may wait for."""

from __future__ import annotations

import ssl
from typing import Any, TypeAlias

from obelisk_ops.core import http
from obelisk_ops.core.http import Reply

#: urllib3's. What is used of them here is what it uses itself, and has no types.
Pool: TypeAlias = Any
Line: TypeAlias = Any

_PIECE_BYTES = 64 * 1024
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)


class Exchange:
    """A request that is on its way. Close it: the connection is urllib3's, for all who ask."""

    def __init__(self, pool: Pool, line: Line, *, has_body: bool, timeout_s: float) -> None:
        """Take over a connection of a pool; ``begin`` sends something."""
        self._pool, self._line = pool, line
        self._has_body, self._timeout_s = has_body, timeout_s
        self._come = b""
        self._reply: Reply | None = None

    @classmethod
    def begin(
        cls, pool: Pool, request: bytes, *, has_body: bool, timeout_s: float, waits: bool
    ) -> Exchange | None:
        """
        Send a request; None, and nothing is sent, if no connection is open.

        Args:
            pool: Where urllib3 keeps connections.
            request: What is sent.
            has_body: Whether the answer to it has a body.
            timeout_s: How long nothing may come, for who waits.
            waits: Whether ``receive`` waits for the answer.

        Raises:
            OSError: The connection is broken.
        """
        line = pool._get_conn()  # noqa: SLF001 - see Pool
        exchange = cls(pool, line, has_body=has_body, timeout_s=timeout_s)
        if line.sock is None:
            exchange.close()
            return None
        try:
            line.sock.settimeout(timeout_s if waits else 0)
            line.sock.sendall(request)
        except OSError:
            exchange.close()
            raise
        return exchange

    def fileno(self) -> int:
        """Return what can be read when more has come."""
        fileno: int = self._line.sock.fileno()
        return fileno

    def receive(self) -> Reply | None:
        """
        Return the answer; None as long as more has to come, which nobody waits for.

        Raises:
            OSError: The connection is broken, or nothing has come in time.
            ValueError: The answer is not a plain one.
        """
        while self._reply is None:
            try:
                piece = self._line.sock.recv(_PIECE_BYTES)
            except _NOT_YET:
                return None
            self._come += piece
            self._reply = http.parse(self._come, has_body=self._has_body)
            if self._reply is None and not piece:
                raise ConnectionResetError("hung up within an answer")
        return self._reply

    def close(self) -> None:
        """Give the connection back; closed, unless its answer was received and not the last."""
        line = self._line
        if self._reply is None or self._reply.closes:
            line.close()
        else:
            line.sock.settimeout(self._timeout_s)
        self._pool._put_conn(line)  # noqa: SLF001 - see Pool
