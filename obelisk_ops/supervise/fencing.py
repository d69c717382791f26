"""
Decide who may write: about our own lease, and about those of others.

Pure. All times are of this machine's clock that only moves forward; no two machines'
clocks are ever compared. What makes that safe is one inequality: a holder stops writing
before its own deadline, counted from *before* a renewal was sent; whoever waits counts
from *after* he saw that renewal, and adds a margin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from obelisk_ops.errors import Fenced
from obelisk_ops.replica.leases import Lease, SeenLease

_MARGIN_MIN_MS = 1_000


class Contested(Fenced):
    """
    The right to write is not ours now, and nobody else is known to have it.

    Whoever has begun to take it may have died before he did: ask again.
    """


def renew_every_ms(ttl_ms: int) -> int:
    """Return how often a lease is renewed: two renewals may fail."""
    return ttl_ms // 3


def guard_ms(ttl_ms: int) -> int:
    """Return how long before its deadline a holder ends everything that writes."""
    return ttl_ms // 10


def patience_ms(ttl_ms: int) -> int:
    """Return how long a lease must stay the same before others may break it."""
    return ttl_ms + max(ttl_ms // 3, _MARGIN_MIN_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A lease has had this ETag at least since then."""

    etag: str
    since_ms: int


def sighted(before: Sighting | None, etag: str, *, now_ms: int) -> Sighting:
    """Return what is known of a lease that was just read with *etag*."""
    if before is not None and before.etag == etag:
        return before
    return Sighting(etag=etag, since_ms=now_ms)


class Rival(StrEnum):
    """What becomes of a replica that another lease owns."""

    GONE = "gone"  # that lease holds nothing any more: claim it
    RUN_OUT = "run out"  # break that lease, then claim it
    LIVES = "lives"  # hands off


def judge_rival(lease: SeenLease | None, sighting: Sighting | None, *, now_ms: int) -> Rival:
    """
    Tell what becomes of a replica that another lease owns.

    Args:
        lease: That lease as it was just read; None if there is none any more.
        sighting: Since when it is the same.
        now_ms: When the reading began, on the clock of *sighting*.
    """
    if lease is None:
        return Rival.GONE
    unchanged = sighting is not None and sighting.etag == lease.etag
    if unchanged and sighting and now_ms - sighting.since_ms >= patience_ms(lease.lease.ttl_ms):
        return Rival.RUN_OUT
    return Rival.LIVES


class Own(StrEnum):
    """What a reading of our own lease says."""

    HELD = "held"
    LOST = "lost"


def judge_own(read: Lease | None, marks: Collection[str]) -> Own:
    """
    Tell whether a lease is still ours.

    Args:
        read: As it was just read; None if it is gone or broken.
        marks: Those of our writes, with or without an answer. Another mark means that
            another process goes on with this lease: from a copy of the state folder.
    """
    return Own.HELD if read is not None and read.mark in marks else Own.LOST


def is_revoked(revoked: Mapping[str, int], name: str, claim: int) -> bool:
    """Tell whether a claim was taken away; a later one of the same replica was not."""
    return revoked.get(name, 0) >= claim


class Move(StrEnum):
    """What the holder of a lease does next."""

    RENEW = "renew"
    HALT = "halt"
    WAIT = "wait"


def next_move(
    *, now_ms: int, stop_ms: int, due_ms: int, is_asking: bool, is_halted: bool
) -> Move:
    """
    Return what the holder of a lease does now.

    Args:
        now_ms: Now.
        stop_ms: When everything that writes must have ended.
        due_ms: When the next renewal is due.
        is_asking: Whether a renewal is under way.
        is_halted: Whether everything was ended already.
    """
    if now_ms >= stop_ms and not is_halted:
        return Move.HALT
    if now_ms >= due_ms and not is_asking:
        return Move.RENEW
    return Move.WAIT
