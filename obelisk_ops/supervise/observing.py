"""Gathers what is known of one database, for ``judge``."""

from __future__ import annotations

from dataclasses import dataclass

from obelisk_ops.supervise.doubts import Doubts
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Observations, Problem
from obelisk_ops.supervise.seat import Seat
from obelisk_ops.supervise.surroundings import Surveyor, surroundings
from obelisk_ops.supervise.tenure import Tenure
from obelisk_ops.supervise.tracker import Tracker
from obelisk_ops.supervise.whereabouts import Whereabouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Who each know something of one database."""

    file: Whereabouts
    tenure: Tenure
    seat: Seat
    doubts: Doubts
    surveyor: Surveyor
    fleet: Fleet


def observe(parts: Parts, tracker: Tracker | None, *, bug: Problem | None) -> Observations:
    """
    Return what is known now.

    Args:
        parts: Who knows it.
        tracker: Its positions; None until its epoch is known.
        bug: Why the last look at it did not come to its end, if it did not.
    """
    file, tenure, doubts, fleet = parts.file, parts.tenure, parts.doubts, parts.fleet
    runner, lease = parts.seat.runner, fleet.lease
    local = tracker.local if tracker else None
    tail = local.tail if local else None
    scouted = tracker.scout.problem if tracker else None
    return Observations(
        since_ms=file.since_ms,
        sync_interval_ms=fleet.sync_interval_ms,
        has_file=file.is_there(),
        was_there=file.was_there,
        refusal=tenure.refusal or lease.refusal,
        bucket=fleet.bucket.problem,
        own=bug or tenure.problem or runner.problem or scouted,
        right=lease.problem,
        may_write=lease.may_write(),
        idle_ms=parts.seat.idle_since_ms(),
        crash=runner.crash if tenure.owner else None,
        intruder=doubts.intruder(),
        doubt=doubts.problem(),
        missing=tracker.missing if tracker else None,
        is_fatal=runner.is_fatal,
        local_txid=local.txid if local else None,
        tail_bytes=tail.size if tail else None,
        waiting=tenure.waiting,
        words=runner.words(file.path),
        tail_commits=tail.commits if tail else None,
        replica_txid=tracker.remote.txid if tracker and tracker.remote else None,
        proven_ms=tracker.proven_ms if tracker else None,
        oldest_unsent_ms=tracker.oldest_ms if tracker else None,
        around=surroundings(parts.surveyor, tracker, fleet),
    )
