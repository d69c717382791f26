"""The ways to tell somebody: a POST to an address, or a command with the message on stdin."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from obelisk_ops import process
from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import child_environment, hide, origin

_TIMEOUT_S = 10.0
_LOOK_S = 0.05
_WORDS_MAX = 300


class Undelivered(Exception):
    """The message was not taken; the text says why, without a secret."""


class Channel(Protocol):
    """One way to tell somebody."""

    name: str

    async def send(self, message: bytes) -> None:
        """
        Deliver a message, or give up in time.

        Raises:
            Undelivered: It was not taken.
        """
        ...


class Webhook:
    """
    A POST of JSON. No redirect is followed, and no proxy used.

    *address* is asked for each message, so that another one is taken up.
    """

    def __init__(self, address: Callable[[], str | None]) -> None:
        self.name = "webhook"
        self._address = address

    async def send(self, message: bytes) -> None:
        """See Channel.send."""
        try:
            address = self._address() or ""
        except ConfigError as wrong:
            raise Undelivered(wrong.message) from None
        where = origin(address)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status = await _post(urlsplit(address), message)
        except TimeoutError:
            raise Undelivered(f"{where} does not answer in {_TIMEOUT_S:g} s") from None
        except (OSError, EOFError, ValueError) as error:
            raise Undelivered(f"{where}: {hide(str(error)) or type(error).__name__}") from None
        if not 200 <= status < 300:  # noqa: PLR2004 - ranges of HTTP
            raise Undelivered(f"{where} answers with status {status}")


class Command:
    """
    A program that gets the message on its stdin.

    It is started without a shell, with the environment of any child: no credentials.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.name = "command"
        self._argv = argv

    async def send(self, message: bytes) -> None:
        """See Channel.send."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(message)
            given.seek(0)
            try:
                child = process.spawn(
                    self._argv, env=child_environment({}), output=said, stdin=given
                )
            except OSError as error:
                why = error.strerror or str(error)
                raise Undelivered(f"{self._argv[0]} cannot be started: {why}") from None
            try:
                status = await _ended(child)
            finally:
                process.end_group(child)
            if status != 0:
                said.seek(0)
                words = said.read()[-_WORDS_MAX:].decode(errors="replace").strip()
                how = "took too long" if status is None else f"ended with status {status}"
                raise Undelivered(hide(f"{self._argv[0]} {how}: {words}".rstrip(": ")))


async def _post(to: SplitResult, body: bytes) -> int:
    secure = ssl.create_default_context() if to.scheme == "https" else None
    port = to.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(to.hostname, port, ssl=secure)
    try:
        writer.write(_head(to, len(body)) + body)
        await writer.drain()
        protocol, status, *_ = (await reader.readline()).split(b" ", 2)
        if not protocol.startswith(b"HTTP/"):
            raise ValueError("it does not speak HTTP")
        return int(status)
    finally:
        writer.close()


def _head(to: SplitResult, size: int) -> bytes:
    target = f"{to.path or '/'}{'?' if to.query else ''}{to.query}"
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {to.netloc.rpartition('@')[2]}",
        "User-Agent: obelisk-ops",
        "Content-Type: application/json",
        f"Content-Length: {size}",
        "Connection: close",
    ]
    if to.username is not None:
        pair = f"{unquote(to.username)}:{unquote(to.password or '')}"
        lines.append(f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _ended(child: process.Child) -> int | None:
    """Return how a child has ended; None if it runs for too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_TIMEOUT_S):
            while True:
                if (status := child.poll()) is not None:
                    return status
                await asyncio.sleep(_LOOK_S)
    return None
