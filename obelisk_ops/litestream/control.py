"""
The control socket of a running Litestream: plain HTTP on a unix socket.

/stop and /start are not here: a file changed between the two corrupts the
replica without a word. What /list calls "replicating" is not here either: it
says so with wrong credentials, without a bucket and while S3 is down.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from obelisk_ops.core import http
from obelisk_ops.core.http import Reply
from obelisk_ops.errors import Unavailable
from obelisk_ops.litestream.line import Line

T = TypeVar("T")

#: What asks this answers from memory, also while S3 is down.
_QUICK_S = 2.0
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Which process answers."""

    version: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last transaction in Litestream's own files; 0 before the first."""

    txid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """
    What a sync reached, by Litestream's memory.

    Attributes:
        status: synced, synced_local or no_change.
        txid: The last transaction in its own files.
        replicated_txid: The last one it believes to be in the bucket.
    """

    status: str
    txid: int
    replicated_txid: int = 0


class ControlSocket:
    """
    Asks one Litestream process.

    A connection is kept open for syncs, which somebody may be waiting for. Any other call
    opens one of its own: what answers then is what listens now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Line | None = None

    def close(self) -> None:
        """Let go of the connection that is kept; call it when the process has ended."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def info(self) -> Info:
        """Return who answers."""
        return await self._ask("GET", "/info", Info)

    async def txid(self, database: Path) -> int:
        """Return the last transaction in Litestream's own files; 0 before the first."""
        answer = await self._ask("GET", f"/txid?path={quote(str(database))}", Position)
        return answer.txid

    async def sync(self, database: Path, *, timeout_s: float) -> Synced:
        """Ship what is there now, and wait for it up to *timeout_s*."""
        wish = {"path": str(database), "wait": True, "timeout": max(1, round(timeout_s))}
        return await self._ask(
            "POST", "/sync", Synced, body=wish, timeout_s=timeout_s + 1, keeps=True
        )

    async def _ask(
        self,
        method: str,
        target: str,
        answer: type[T],
        *,
        body: object = None,
        timeout_s: float = _QUICK_S,
        keeps: bool = False,
    ) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._exchange(_request(method, target, body), keeps=keeps)
            if reply.status == _OK:
                return msgspec.json.decode(reply.body, type=answer)
        except TimeoutError:
            raise Unavailable(
                f"Litestream did not answer {target} in {timeout_s:g} s"
            ) from None
        except (OSError, EOFError, ValueError) as error:
            raise Unavailable(f"Litestream does not answer {target}: {error}") from None
        said = reply.body.decode(errors="replace").strip()
        raise Unavailable(f"Litestream answers {target} with {reply.status}: {said[:300]}")

    async def _exchange(self, request: bytes, *, keeps: bool) -> Reply:
        line, reply = await self._line(keeps=keeps), None
        try:
            reply = await line.ask(request)
            return reply
        finally:
            is_good = reply is not None and not reply.closes
            if keeps and is_good and self._kept is None:
                self._kept = line
            else:
                line.close()

    async def _line(self, *, keeps: bool) -> Line:
        line = self._kept if keeps else None
        if line is None or not line.is_open:
            return await Line.open(self._path)
        self._kept = None  # whoever asks meanwhile opens another one
        return line


def _request(method: str, target: str, body: object) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    # HTTP/1.0: an answer is never chunked. Its end is that of the connection if it is long.
    headers = {"Connection": "keep-alive", "Content-Length": str(len(content))}
    return http.request(method, target, headers, content, version="HTTP/1.0")
