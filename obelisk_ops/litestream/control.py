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

from obelisk_ops.errors import Unavailable

T = TypeVar("T")

#: What asks this answers from memory, also while S3 is down.
_QUICK_S = 2.0
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
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
    """Asks one Litestream process; every call opens a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

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
        return await self._ask("POST", "/sync", Synced, body=wish, timeout_s=timeout_s + 1)

    async def _ask(
        self,
        method: str,
        target: str,
        answer: type[T],
        *,
        body: object = None,
        timeout_s: float = _QUICK_S,
    ) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                status, content = await self._exchange(method, target, body)
            if status == _OK:
                return msgspec.json.decode(content, type=answer)
        except TimeoutError:
            raise Unavailable(
                f"Litestream did not answer {target} in {timeout_s:g} s"
            ) from None
        except (OSError, EOFError, ValueError) as error:
            raise Unavailable(f"Litestream does not answer {target}: {error}") from None
        said = content.decode(errors="replace").strip()
        raise Unavailable(f"Litestream answers {target} with {status}: {said[:300]}")

    async def _exchange(self, method: str, target: str, body: object) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_ANSWER_BYTES_MAX)
        try:
            # HTTP/1.0: the end of the answer is the end of the stream, and it is never chunked.
            content = b"" if body is None else msgspec.json.encode(body)
            head = f"{method} {target} HTTP/1.0\r\nContent-Length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            await writer.drain()
            head_read = await reader.readuntil(b"\r\n\r\n")
            status = int(head_read.split(b" ", 2)[1])
            return status, await reader.read(_ANSWER_BYTES_MAX)
        finally:
            writer.close()
