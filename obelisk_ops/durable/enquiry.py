"""
What only the owner of a database knows: what it serves, and why calls do not start.

A datagram that asks, and one that answers; nothing of it is on record. An owner that does
not answer in time is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from obelisk_ops.durable.mailroom import bind, send
from obelisk_ops.storage import Address
from obelisk_ops.storage.sqlite import beside

MARK = b"?"
_REPLY = re.compile(r"reply-[0-9]{1,10}\.sock")
_TIMEOUT_S = 0.5
_CALLS_MAX = 500
_ANSWER_BYTES = 1 << 16


class Question(Struct):
    """
    What is asked.

    Attributes:
        reply: Name of the socket, beside the database, that waits for the answer.
        functions: Which of these workflows are not served?
        calls: Why do these calls (execution, n) not start?
        executions: Of which of these is something held back until the bucket holds it?
    """

    reply: str
    functions: list[str]
    calls: list[tuple[int, int]]
    executions: list[int] = []


class Reply(Struct):
    """
    The answer.

    Attributes:
        unserved: The functions that are not served.
        calls: ``(execution, n, reason)``.
        held: The executions of which something is held back.
        trouble: Why the bucket does not hold it yet, if that is known.
    """

    unserved: list[str] = []
    calls: list[tuple[int, int, str]] = []
    held: list[int] = []
    trouble: str = ""


def enquire(
    database: Address,
    functions: Iterable[str],
    calls: Iterable[tuple[int, int]],
    executions: Iterable[int] = (),
) -> Reply | None:
    """Ask the owner of *database*; None when it does not answer at once."""
    if not isinstance(database, Path):
        return None  # a server has no socket for it
    name = f"reply-{os.getpid()}.sock"
    path = beside.folder(database) / name
    receiver = bind(path) if path.parent.is_dir() else None
    if receiver is None:
        return None
    question = Question(
        name, sorted(set(functions)), list(calls)[:_CALLS_MAX], list(executions)[:_CALLS_MAX]
    )
    try:
        send(database, MARK + msgspec.json.encode(question))
        receiver.settimeout(_TIMEOUT_S)
        return msgspec.json.decode(receiver.recv(_ANSWER_BYTES), type=Reply)
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        receiver.close()
        path.unlink(missing_ok=True)


def read(datagram: bytes) -> Question | None:
    """Return the question that a datagram asks; None when it asks none."""
    if datagram.startswith(MARK):
        with suppress(msgspec.DecodeError):
            question = msgspec.json.decode(datagram[len(MARK) :], type=Question)
            if _REPLY.fullmatch(question.reply):
                return question
    return None


def answer(database: Address, question: Question, reply: Reply) -> None:
    """Send the answer; who asked may be gone."""
    assert isinstance(database, Path)  # nobody could ask
    with suppress(OSError):
        send(database, msgspec.json.encode(reply), to=question.reply)
