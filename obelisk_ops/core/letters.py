"""Whether a letter is put into the mailbox: asked in the transaction that would do it."""

from __future__ import annotations

from obelisk_ops.core import facts, requests, retention, schedules
from obelisk_ops.core.ports import LogReader


def is_wanted(reader: LogReader, kind: str, target: str, body: str, now_ms: int) -> bool:
    """
    Return whether a request changes anything; False when it is so already.

    Raises:
        Conflict: It contradicts what is.
        NotFound: What it is for does not exist.
    """
    if kind == retention.KIND:
        return True
    if kind == schedules.KIND:
        return schedules.is_news(reader, target, body, now_ms)
    return requests.is_news(kind, target, body, facts.facts_of(reader, kind, target, body))
