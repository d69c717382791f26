"""
Reading a database in a process of its own, which may die of it.

What is read comes back as JSON and is decoded to the type that is expected; an error comes
back as itself. A process that took too much, or crashed, becomes one error that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from obelisk_ops.errors import LimitExceeded, OpsError, ReaderCrashed
from obelisk_ops.inspect.opening import too_much_memory
from obelisk_ops.process.apart import Cause, Death, Limits, Say, answers

T = TypeVar("T")


class _Refusal(msgspec.Struct):
    code: str
    message: str
    hint: str


_REFUSAL = msgspec.json.Decoder(_Refusal)
#: What the first byte of an answer says that the rest is.
_VALUE, _REFUSED = b"=", b"!"


def read_apart(
    read: Callable[[], T],
    decoder: msgspec.json.Decoder[T],
    *,
    name: Path | str,
    limits: Limits,
    more: str = "",
) -> T:
    """
    Return what *read* returns, done in a child process with limits.

    Args:
        read: Opens, reads and closes; what it returns is encoded as JSON.
        decoder: Of its type.
        name: What is read, for messages.
        limits: What that may take.
        more: What to do where it takes more, if not to give a command more.

    Raises:
        LimitExceeded: It takes more.
        ReaderCrashed: The process crashed.
        OpsError: What *read* raises.
    """

    def work(say: Say) -> None:
        say(encode(outcome_of(read)))

    try:
        with answers(work, limits) as given:
            answer = given.next()
        assert answer is not None, "a child that ends well has answered"
        outcome = decode(answer, decoder)
    except Death as death:
        outcome = in_words(death, name)
    if isinstance(outcome, LimitExceeded) and more:
        raise LimitExceeded(outcome.message, hint=more)
    if isinstance(outcome, OpsError):
        raise outcome
    return outcome


def outcome_of(read: Callable[[], T]) -> T | OpsError:
    """In the child: return what *read* returns, or the error that it raises."""
    try:
        return read()
    except OpsError as error:
        return error
    except MemoryError:
        raise
    except Exception as bug:  # noqa: BLE001 - it is raised again where it can be said in words
        return OpsError(f"{type(bug).__name__}: {bug}", hint="this is a bug")


def encode(outcome: object) -> bytes:
    """In the child: return what was read, or an error, as bytes."""
    if isinstance(outcome, OpsError):
        refusal = _Refusal(outcome.code, outcome.message, outcome.hint)
        return _REFUSED + msgspec.json.encode(refusal)
    return _VALUE + msgspec.json.encode(outcome)


def decode(answer: bytes, decoder: msgspec.json.Decoder[T]) -> T | OpsError:
    """In the parent: return what a child has encoded."""
    if answer.startswith(_VALUE):
        return decoder.decode(memoryview(answer)[1:])
    refusal = _REFUSAL.decode(memoryview(answer)[1:])
    kind = {one.code: one for one in _kinds(OpsError)}[refusal.code]
    return kind(refusal.message, hint=refusal.hint)


def in_words(death: Death, name: Path | str) -> OpsError:
    """Return what is said of a database of which a process died."""
    match death.cause:
        case Cause.MEMORY | Cause.ANSWER:
            error = too_much_memory(name)
            return LimitExceeded(f"{error.message}: the reader {death.words}", hint=error.hint)
        case Cause.TIME:
            return LimitExceeded(
                f"{name} could not be read in time: the reader {death.words}",
                hint="it is large, or made to be slow: commands that read take longer with "
                "--within",
            )
        case Cause.CRASH:
            return ReaderCrashed(
                f"the process that read {name} {death.words}",
                hint="it is damaged, or made to do harm: look at an earlier state, NAME@WHEN",
            )


def _kinds(kind: type[OpsError]) -> Iterator[type[OpsError]]:
    for below in kind.__subclasses__():
        yield from _kinds(below)
    yield kind
