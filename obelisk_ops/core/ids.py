"""
Names of executions.

A caller's id has no ``/``; ids that the engine derives do, so the two never
clash: call number 3 of ``order-42`` is ``order-42/3``, on every replay.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

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
    return f"{now_ms:012x}-{uuid.uuid4().hex[:12]}"


def derived(execution_id: str, n: int) -> str:
    """Return the id of call number *n* of an execution; good as an idempotency key."""
    return f"{execution_id}/{n}"


def successor(execution_id: str) -> str:
    """Return the id of the execution that goes on in another one's place: ``a~2`` of ``a``."""
    base, _, number = execution_id.partition("~")
    return f"{base}~{int(number or 1) + 1}"


def latest(execution_id: str, exists: Callable[[str], bool]) -> str:
    """
    Return the id of the execution that goes on in place of one, or its own.

    In few questions, also of one that has gone on ten thousand times.
    """
    base, _, number = execution_id.partition("~")
    known = int(number or 1)
    step = 1
    while exists(f"{base}~{known + step}"):
        known, step = known + step, 2 * step
    while step > 1:
        step //= 2
        if exists(f"{base}~{known + step}"):
            known += step
    return execution_id if known == int(number or 1) else f"{base}~{known}"


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
