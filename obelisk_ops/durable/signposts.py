"""
Who looks after a database that no supervisor has found yet?

A supervisor looks for new files twice a second; a script may have begun and ended in between.
So it leaves a signpost in the folders that it watches,

    <folder>/.obelisk-supervisors/<state folder>.json      where it listens

and an engine that finds no ``owner.json`` beside its database follows those in the folder of
the database and above. A signpost promises nothing: whoever listens there is asked whether it
looks after the file, looks for it at once, and says yes or no. Without one nobody waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from obelisk_ops.storage import Address

FOLDER = ".obelisk-supervisors"
QUESTION = "looks_after"

_ANSWER_S = 2.0


class Signpost(Struct):
    """
    What a signpost says.

    Attributes:
        socket: Where the supervisor listens.
    """

    socket: str


_decode = msgspec.json.Decoder(Signpost).decode


async def ask_the_way(database: Address) -> str:
    """Return where the supervisor listens that looks after *database*; empty if none does."""
    if not isinstance(database, Path):
        return ""
    question = _question(database)
    for signpost in _signposts(database):
        try:
            async with asyncio.timeout(_ANSWER_S):
                if await _says_yes(signpost.socket, question):
                    return signpost.socket
        except (OSError, EOFError, ValueError, TimeoutError):
            continue  # it was killed, and another one may be there
    return ""


def _question(database: Path) -> bytes:
    asked = {"ask": QUESTION, "database": str(database.resolve())}
    return msgspec.json.encode(asked) + b"\n"


async def _says_yes(socket: str, question: bytes) -> bool:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(question)
        answer = msgspec.json.decode(await reader.readuntil(b"\n"))
        return isinstance(answer, dict) and answer.get(QUESTION) is True
    finally:
        writer.close()


def _signposts(database: Path) -> Iterator[Signpost]:
    for folder in database.resolve().parents:
        for file in sorted((folder / FOLDER).glob("*.json")):
            try:
                # Others may write in a folder above, such as /tmp.
                if file.stat().st_uid in {0, os.geteuid()}:
                    yield _decode(file.read_bytes())
            except (OSError, msgspec.DecodeError):
                continue
