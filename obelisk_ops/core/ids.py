"""
Names of executions.

A caller's id has no ``/``; ids that the engine derives do, so the two never
clash: call number 3 of ``order-42`` is ``order-42/3``, on every replay.
"""

from __future__ import annotations

import re
import uuid

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
