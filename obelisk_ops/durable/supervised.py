"""
The question to the supervisor: is everything that was committed by now in the bucket?

An engine finds its supervisor by ``owner.json`` beside the database; before there is one, by a
signpost (signposts.py). The connection is kept. One line asks, lines answer: ``{"note": …}``
says what it waits for, as often as that changes; the last one is ``{}`` or ``{"error": …}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from obelisk_ops.core.barrier import Barrier, Replication
from obelisk_ops.durable import tether
from obelisk_ops.durable.signposts import ask_the_way
from obelisk_ops.errors import ConfigError, Fenced, ReplicationTimeout, Unavailable
from obelisk_ops.storage import Address

QUESTION = "barrier"
#: how soon it is asked again where nobody is there who would wake us
AGAIN_S = 1.0

_LINE_BYTES_MAX = 64 * 1024
_HINT = "start one that is configured for it: obelisk-ops supervise"


class Refusal(Struct):
    """An error, as it travels."""

    code: str
    message: str
    hint: str = ""


class Answer(Struct, omit_defaults=True):
    """
    One line of the answer.

    Attributes:
        note: What it waits for; another line follows.
        error: Why it is not so.
    """

    note: str = ""
    error: Refusal | None = None


_decode = msgspec.json.Decoder(Answer).decode


class SupervisedBarrier:
    """See the module, and Barrier. Asks one question at a time."""

    def __init__(self, database: Path) -> None:
        """Begin without a connection."""
        self._database = database
        self._question = b""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def check(self, who: str) -> None:
        """See Barrier.check."""

    async def passed(self, told: Callable[[str], None]) -> None:
        """See Barrier.passed."""
        try:
            reader, writer = self._streams or await self._connect()
            writer.write(self._question)
            while (answer := _decode(await reader.readuntil(b"\n"))).note:
                told(answer.note)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise Unavailable(f"the supervisor has gone: {error}", hint=_HINT) from None
        except BaseException:
            self.close()  # what comes now would answer a question that nobody waits for
            raise
        refusal = answer.error
        if refusal is not None:
            kind = Fenced if refusal.code == Fenced.code else Unavailable
            raise kind(refusal.message, hint=refusal.hint)

    def close(self) -> None:
        """See Barrier.close."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        socket = tether.facts(self._database).get("socket")
        if not isinstance(socket, str):
            socket = await ask_the_way(self._database)
        if not socket:
            raise Unavailable(f"no supervisor looks after {self._database}", hint=_HINT)
        question = {"ask": QUESTION, "database": str(self._database.resolve())}
        self._question = msgspec.json.encode(question) + b"\n"
        try:
            self._streams = await asyncio.open_unix_connection(socket, limit=_LINE_BYTES_MAX)
        except OSError as error:
            raise Unavailable(
                f"the supervisor of {self._database} does not run: {error.strerror}",
                hint=_HINT,
            ) from None
        return self._streams


class NoBarrier:
    """Of a database on a server, which no supervisor looks after."""

    def check(self, who: str) -> None:
        """See Barrier.check."""
        raise not_replicated(who)

    async def passed(self, told: Callable[[str], None]) -> None:  # noqa: ARG002
        """See Barrier.passed."""
        raise not_replicated()

    def close(self) -> None:
        """See Barrier.close."""


def barrier_of(database: Address) -> Barrier:
    """Return what answers whether a bucket holds what was committed."""
    return SupervisedBarrier(database) if isinstance(database, Path) else NoBarrier()


def checked(database: Address, replicated: Iterable[str]) -> Address:
    """
    Return a database of which the durability can be had that these functions want.

    Raises:
        ConfigError: Only a bucket could give it, and it is on a server.
    """
    if not isinstance(database, Path):
        for name in replicated:
            raise not_replicated(name)
    return database


def not_replicated(who: str = "") -> ConfigError:
    """Return what those are told who want a database on a server in a bucket."""
    wanted = f"{who} says " if who else ""
    return ConfigError(
        f"{wanted}durability='replicated', which is of SQLite files: no bucket holds a "
        "PostgreSQL database",
        hint="leave it out; what is acknowledged is on the server, whose own replication and "
        "backups (synchronous_standby_names, PITR) go further",
    )


async def wait_until_passed(database: Address, replication: Replication) -> None:
    """
    Wait until the bucket holds what was committed before, as patiently as was asked for.

    Raises:
        ReplicationTimeout: It could not be proven in time.
        Fenced: It never will be: another owner has the right to write.
    """
    barrier, reasons = barrier_of(database), [""]
    try:
        async with asyncio.timeout(replication.timeout_s if replication.fails else None):
            while True:
                try:
                    await barrier.passed(reasons.append)
                except Unavailable as error:
                    reasons.append(error.message)
                    await asyncio.sleep(AGAIN_S)
                else:
                    return
    except TimeoutError:
        raise too_late(replication, reasons[-1]) from None
    finally:
        barrier.close()


async def prove(database: Address, timeout_s: float) -> bool:
    """Ask for a proof that all is in the bucket; False if there is none in time."""
    if not isinstance(database, Path):
        return False
    barrier = SupervisedBarrier(database)
    try:
        async with asyncio.timeout(timeout_s):
            await barrier.passed(_nobody)
    except (Unavailable, Fenced, TimeoutError):
        return False
    finally:
        barrier.close()
    return True


def too_late(replication: Replication, reason: str) -> ReplicationTimeout:
    """Return what those are told who have waited too long."""
    why = f": {reason}" if reason else ""
    return ReplicationTimeout(
        "it is on this disk, and was not proven to be in the bucket within "
        f"{replication.timeout_s:g} s{why}",
        hint="it goes on as soon as the bucket answers; ask again to wait for it",
    )


def _nobody(_reason: str) -> None:
    """Nobody wants to know what it waits for."""
