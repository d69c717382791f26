"""
Names of executions.

A caller's id has no ``/``; ids that the engine derives do, so the two never
clash: call number 3 of ``order-42`` is ``order-42/3``, on every replay.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Protocol

from obelisk_ops.errors import InvalidInput

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=-]{0,199}")


def checked(execution_id: str) -> str:
    """
    Return a caller's id unchanged.

    Raises:
        InvalidInput: It is empty, too long, or has a character that is not allowed.
    """
    if _ALLOWED.fullmatch(execution_id):
        return execution_id
    raise InvalidInput(
        f"{execution_id!r} cannot be an execution id",
        hint="use 1 to 200 letters, digits and . _ : @ + = - and begin with a letter or digit",
    )


def generated(now_ms: int) -> str:
    """Return a new id; ids made later sort later (up to one millisecond)."""
    return f"{now_ms:012x}-{secrets.token_hex(6)}"


def derived(execution_id: str, n: int) -> str:
    """Return the id of call number *n* of an execution; good as an idempotency key."""
    return f"{execution_id}/{n}"


def successor(execution_id: str) -> str:
    """Return the id of the execution that goes on in another one's place: ``a~2`` of ``a``."""
    first, number = split_link(execution_id)
    return link(first, number + 1)


def split_link(execution_id: str) -> tuple[str, int]:
    """Return the first of a chain, and the place in it: ``a/1`` and 3 of ``a/1~3``."""
    above, slash, last = execution_id.rpartition("/")
    name, mark, number = last.partition("~")
    return (f"{above}{slash}{name}", int(number)) if mark else (execution_id, 1)


class Named(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """The id of an execution."""
        ...


def predecessors(execution_id: str) -> Iterator[str]:
    """Yield the ids of the executions in whose place one goes on, the last one first."""
    first, number = split_link(execution_id)
    for known in range(number - 1, 0, -1):
        yield link(first, known)


def latest(
    execution_id: str,
    find: Callable[[str], object | None],
    newest_link: Callable[[str], Named | None],
) -> str:
    """
    Return the id of the execution that goes on in place of one, or its own.

    In few questions, also of one that has gone on ten thousand times.

    Args:
        execution_id: Which one.
        find: Returns None for an id that does not exist.
        newest_link: Returns the last one that went on in place of one, as far as is durable.
    """
    found = _search(execution_id, find)
    if found == execution_id and split_link(found)[1] == 1:
        link = newest_link(found)  # those between may be pruned
        if link is not None:
            found = _search(link.id, find)
    return found


def _search(execution_id: str, find: Callable[[str], object | None]) -> str:
    first, begin = split_link(execution_id)
    known, step = begin, 1
    while find(link(first, known + step)) is not None:
        known, step = known + step, 2 * step
    while step > 1:
        step //= 2
        if find(link(first, known + step)) is not None:
            known += step
    return execution_id if known == begin else link(first, known)


def link(first: str, number: int) -> str:
    """Return the id at a place of a chain; the first one's has no mark."""
    return first if number == 1 else f"{first}~{number}"


def split_call(call_id: str) -> tuple[str, int]:
    """
    Return the execution and the number of a call.

    Raises:
        InvalidInput: It is no id of a call.
    """
    execution_id, _, number = call_id.rpartition("/")
    if not execution_id or not number.isdecimal():
        raise InvalidInput(
            f"{call_id!r} is no id of a call",
            hint="it looks like order-42/3; see execution why",
        )
    return execution_id, int(number)
