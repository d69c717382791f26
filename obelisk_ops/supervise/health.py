"""
Judge how well a database is backed up, from what was observed.

Pure. ``ok`` is a proof and has an age; whatever is not known is None and never
counts as good. Litestream's own word is not among the observations: it says
"replicating" while nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from obelisk_ops.supervise.notices import Notice, Surroundings, notices, words_of_line

#: How old the last answer of the bucket may be for ``ok``.
PROOF_MAX_MS = 15_000
#: An outage shorter than this is a hiccup: it was seen once and is asked again at once.
HICCUP_MS = 2_000
#: An upload and the listing that finds it take their time, however short the interval is.
LAG_LEAST_MS = 2_000
#: How long a process may be away that is started anew, for a change of its group or itself.
IDLE_MAX_MS = 10_000
#: How long the first look at a file may take before "starting" is no answer any more.
START_MAX_MS = 30_000

#: Reasons that end only when a person acts.
_NEEDS_A_PERSON = frozenset(
    {"credentials", "bucket_missing", "backup_missing", "corrupt_database", "config"}
)

_EXIT_BY_REASON = {
    "fenced": 9, "database_locked": 9, "second_writer": 9, "credentials": 11, "clock": 12,
    "corrupt_database": 10, "verification_failed": 10, "damaged_object": 10,
    "backup_missing": 10, "lost_objects": 10,
    "s3_unavailable": 6, "bucket_missing": 6, "storage_unavailable": 6,
    "program_missing": 6, "unavailable": 6,
}  # fmt: skip
#: Of the statuses that the databases of a fleet call for, the first of these is the fleet's.
EXIT_ORDER = (9, 11, 12, 10, 6, 4, 5, 1)


class State(StrEnum):
    """How well a database is backed up."""

    OK = "ok"
    STARTING = "starting"
    LAGGING = "lagging"
    UNKNOWN = "unknown"
    FENCED = "fenced"
    BACKOFF = "backoff"
    FATAL = "fatal"
    STOPPED = "stopped"


_EXIT_BY_STATE = {
    State.OK: 0, State.STARTING: 4, State.LAGGING: 5, State.UNKNOWN: 4, State.FENCED: 9,
    State.BACKOFF: 5, State.FATAL: 1, State.STOPPED: 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """
    Something that is wrong now.

    Attributes:
        code: The code of the error, see errors.py.
        text: What is wrong, in words.
        since_ms: When it was first seen.
        why: The cause, where the system names one.
    """

    code: str
    text: str
    since_ms: int
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """
    What is known of one database. Times are on the clock of ``judge``'s *now_ms*.

    Attributes:
        since_ms: When the supervisor began to look after this file.
        sync_interval_ms: How often Litestream ships.
        has_file: Whether the file is there.
        was_there: Whether it ever was.
        refusal: Why this machine may not write the replica.
        bucket: What is wrong with the bucket, for everybody.
        own: What is wrong with this database alone.
        right: Why the lease cannot be renewed.
        may_write: Whether the lease is good for writing now.
        idle_ms: Since when no process has the file open; None while one has.
        crash: Why the process is not running, if it ended unasked.
        intruder: Who else writes to the replica, or did a moment ago.
        doubt: Why what was shipped is not surely what the file holds.
        missing: What was in the bucket and is not, or is not listed.
        is_fatal: Whether it ended so often that a person should look.
        local_txid: Last transaction in Litestream's own files.
        tail_bytes: Committed WAL behind it.
        tail_commits: Commits in that WAL.
        replica_txid: Last transaction seen in the bucket by our own listing.
        waiting: What keeps the process from being started, if anything does.
        words: What the process said of late that was not routine.
        proven_ms: When the listing began that last told what is in the bucket.
        oldest_unsent_ms: Since when the oldest change waits that is not seen in the bucket.
        around: What was seen around it.
    """

    since_ms: int
    sync_interval_ms: int
    has_file: bool = True
    was_there: bool = True
    refusal: Problem | None = None
    bucket: Problem | None = None
    own: Problem | None = None
    right: Problem | None = None
    may_write: bool = True
    idle_ms: int | None = None
    crash: Problem | None = None
    intruder: Problem | None = None
    doubt: Problem | None = None
    missing: Problem | None = None
    is_fatal: bool = False
    local_txid: int | None = None
    tail_bytes: int | None = None
    tail_commits: int | None = None
    replica_txid: int | None = None
    waiting: str = ""
    words: str = ""
    proven_ms: int | None = None
    oldest_unsent_ms: int | None = None
    around: Surroundings = field(default_factory=Surroundings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """
    The verdict. None is "not known".

    Attributes:
        state: How well the database is backed up.
        reason: Code of the error behind it; empty if there is none.
        detail: Why, in words.
        rpo_seconds: Age of the oldest change that is not proven to be in the bucket.
        unsent_transactions: Transactions and commits that are not proven to be there.
        unsent_bytes: Committed WAL that Litestream has not yet put into a file to ship.
        notices: What somebody should know besides.
    """

    state: State
    reason: str = ""
    detail: str = ""
    rpo_seconds: float | None = None
    unsent_transactions: int | None = None
    unsent_bytes: int | None = None
    notices: tuple[Notice, ...] = ()


_Verdict = tuple[State, str, str]


def judge(seen: Observations, *, now_ms: int) -> Health:
    """Return the verdict on one database."""
    state, reason, detail = _verdict(seen, now_ms)
    return Health(
        state=state,
        reason=reason,
        detail=detail,
        rpo_seconds=_rpo_seconds(seen, now_ms),
        unsent_transactions=_unsent_transactions(seen),
        unsent_bytes=seen.tail_bytes,
        notices=notices(seen.around),
    )


def exit_status(verdicts: Iterable[tuple[str, str]]) -> int:
    """Return the exit status of a fleet from the state and the reason of each database."""
    called_for = set()
    for state, reason in verdicts:
        if state != State.OK:
            called_for |= {_EXIT_BY_STATE[State(state)], _EXIT_BY_REASON.get(reason, 0)}
    return next((status for status in EXIT_ORDER if status in called_for), 0)


def words_for_ms(duration_ms: int) -> str:
    """Write a time as a person says it: ``12 s``, ``4 min``, ``3 h``, ``2 d``."""
    seconds = duration_ms / 1000
    if seconds < 10:  # noqa: PLR2004 - below ten seconds a tenth is news
        return f"{seconds:.1f} s"
    for unit, size, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400)} d"


def words_if_ahead(*, replica_txid: int | None, local_txid: int | None) -> str:
    """
    Say that the bucket holds more than this disk ever had; empty if it does not.

    What is here and what is there are then two histories, and nothing can be
    concluded from comparing their numbers.
    """
    if not local_txid or replica_txid is None or replica_txid <= local_txid:
        return ""
    where = f"{replica_txid}, here {local_txid}"
    return f"the bucket is ahead of this disk ({where}): the file was set back"


def _verdict(seen: Observations, now_ms: int) -> _Verdict:
    return (
        _without_right_or_file(seen)
        or _intruded(seen, now_ms)
        or _in_need_of_a_person(seen, now_ms)
        or _without_process(seen)
        or _set_back(seen)
        or _in_doubt(seen, now_ms)
        or _missing(seen, now_ms)
        or _behind(seen, now_ms)
        or _unproven(seen, now_ms)
        or _idle(seen, now_ms)
        or (State.OK, "", "")
    )


def _without_right_or_file(seen: Observations) -> _Verdict | None:
    if seen.refusal:
        return State.FENCED, seen.refusal.code, seen.refusal.text
    if seen.has_file:
        return None
    if seen.was_there:
        return State.STOPPED, "database_not_found", "the file is gone"
    return State.STARTING, "database_not_found", "waiting for the file"


def _intruded(seen: Observations, now_ms: int) -> _Verdict | None:
    if seen.intruder is None:
        return None
    # Also when our own history is safe again: somebody has to find who it is.
    return State.FATAL, seen.intruder.code, _since(seen.intruder, now_ms)


def _in_need_of_a_person(seen: Observations, now_ms: int) -> _Verdict | None:
    for problem in (seen.own, seen.bucket, seen.right):
        if problem and problem.code in _NEEDS_A_PERSON:
            return State.FATAL, problem.code, _since(problem, now_ms)
    return None


def _without_process(seen: Observations) -> _Verdict | None:
    if seen.crash is None:
        return None
    state = State.FATAL if seen.is_fatal else State.BACKOFF
    return state, seen.crash.code, seen.crash.text


def _set_back(seen: Observations) -> _Verdict | None:
    ahead = _ahead(seen)
    return (State.UNKNOWN, "verification_failed", ahead) if ahead else None


def _in_doubt(seen: Observations, now_ms: int) -> _Verdict | None:
    if seen.doubt is None:
        return None
    problem = _problem(seen, now_ms)
    why = f"; {_since(problem, now_ms)}" if problem else ""
    return State.UNKNOWN, seen.doubt.code, f"{_since(seen.doubt, now_ms)}{why}"


def _missing(seen: Observations, now_ms: int) -> _Verdict | None:
    if seen.missing is None:
        return None
    # What is surely gone is unsent again; before that, nothing is known.
    is_lost = seen.missing.code == "lost_objects"
    state = State.LAGGING if is_lost else State.UNKNOWN
    return state, seen.missing.code, _since(seen.missing, now_ms)


def _behind(seen: Observations, now_ms: int) -> _Verdict | None:
    oldest = seen.oldest_unsent_ms
    if oldest is None or now_ms - oldest <= max(3 * seen.sync_interval_ms, LAG_LEAST_MS):
        return None
    problem = _problem(seen, now_ms)
    if problem:
        return State.LAGGING, problem.code, _since(problem, now_ms)
    line = words_of_line(seen.around)
    what = f"a change of {_age(oldest, now_ms)} ago is not in the bucket"
    if seen.around.is_disk_full:
        return State.LAGGING, "storage_unavailable", f"{what}: the disk is full"
    return State.LAGGING, "", _with_words(f"{what}: {line}" if line else what, seen)


def _unproven(seen: Observations, now_ms: int) -> _Verdict | None:
    problem = _problem(seen, now_ms)
    if problem and now_ms - problem.since_ms >= HICCUP_MS:
        return State.UNKNOWN, problem.code, _since(problem, now_ms)
    if not _is_measured(seen):
        if now_ms - seen.since_ms < START_MAX_MS:
            return State.STARTING, "", _what_is_missing(seen)
        what = f"{_what_is_missing(seen)}, since {_age(seen.since_ms, now_ms)}"
        return State.UNKNOWN, "", _with_words(what, seen)
    if seen.proven_ms is not None and now_ms - seen.proven_ms > PROOF_MAX_MS:
        return State.UNKNOWN, "", f"the bucket was last read {_age(seen.proven_ms, now_ms)} ago"
    return None


def _idle(seen: Observations, now_ms: int) -> _Verdict | None:
    """Say why the next change would go nowhere, though everything so far is safe."""
    if not seen.may_write:
        return State.UNKNOWN, "unavailable", "the lease of this supervisor has run out"
    if seen.idle_ms is not None and now_ms - seen.idle_ms > IDLE_MAX_MS:
        return (
            State.UNKNOWN,
            "",
            f"no Litestream runs for it since {_age(seen.idle_ms, now_ms)}",
        )
    return None


def _problem(seen: Observations, now_ms: int) -> Problem | None:
    """Return what is wrong, rather what lasts than what was seen just now."""
    # Without a lease nothing is written, whether or not the bucket answers who reads.
    away = (seen.bucket, seen.right) if seen.may_write else (seen.right, seen.bucket)
    found = [problem for problem in (seen.own, *away) if problem]
    lasting = (problem for problem in found if now_ms - problem.since_ms >= HICCUP_MS)
    return next(lasting, found[0] if found else None)


def _is_measured(seen: Observations) -> bool:
    return bool(seen.local_txid) and None not in (
        seen.replica_txid, seen.proven_ms, seen.tail_bytes
    )  # fmt: skip


def _ahead(seen: Observations) -> str:
    return words_if_ahead(replica_txid=seen.replica_txid, local_txid=seen.local_txid)


def _unsent_transactions(seen: Observations) -> int | None:
    if seen.local_txid is None or seen.replica_txid is None or seen.tail_commits is None:
        return None
    if seen.replica_txid > seen.local_txid:
        return None
    return seen.local_txid - seen.replica_txid + seen.tail_commits


def _rpo_seconds(seen: Observations, now_ms: int) -> float | None:
    if seen.oldest_unsent_ms is not None:
        return max(0, now_ms - seen.oldest_unsent_ms) / 1000
    unsent = _unsent_transactions(seen)
    return 0.0 if unsent == 0 and _is_measured(seen) else None


def _with_words(what: str, seen: Observations) -> str:
    return f"{what}; Litestream says: {seen.words}" if seen.words else what


def _what_is_missing(seen: Observations) -> str:
    if seen.waiting:
        return seen.waiting
    if not seen.local_txid:
        return "Litestream has not read the file yet"
    if seen.replica_txid is None or seen.proven_ms is None:
        return "the bucket has not been read yet"
    return "the write-ahead log cannot be read"


def _since(problem: Problem, now_ms: int) -> str:
    why = f": {problem.why}" if problem.why else ""
    return f"{problem.text} since {_age(problem.since_ms, now_ms)}{why}"


def _age(at_ms: int, now_ms: int) -> str:
    return words_for_ms(max(0, now_ms - at_ms))
