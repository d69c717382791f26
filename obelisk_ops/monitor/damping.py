"""
When somebody is told that a database is unwell, and when that it is well again. Pure.

Told once, when it has been unwell for ``after_ms`` without a break; told again if it gets
worse, and every ``repeat_ms`` while it lasts; told once when it has been well for as long.
A database that keeps coming and going is told of less and less: each time it is unwell
again within the hour, it has to be well for twice as long before that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from obelisk_ops.supervise.health import State

_CALM_MS = 3_600_000


class Severity(IntEnum):
    """How bad it is."""

    NONE = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """As it is written in messages."""
        return self.name.lower()


#: What ends only when a person acts, and what loses data that nobody may know of.
_CRITICAL_STATES = frozenset({State.FATAL, State.FENCED})
_CRITICAL_REASONS = frozenset({
    "credentials", "bucket_missing", "clock", "corrupt_database", "damaged_object",
    "lost_objects", "second_writer", "verification_failed",
})  # fmt: skip
#: Told at once: it may look well again soon, and somebody has to find out all the same.
_URGENT_REASONS = frozenset({"second_writer"})


def severity(state: str, reason: str, *, has_failed_drill: bool = False) -> Severity | None:
    """Return how bad a state is; None if it says nothing about that yet."""
    if state == State.STARTING:
        return None
    if has_failed_drill:
        return Severity.CRITICAL  # what is replicated so well cannot be restored
    if state == State.OK:
        return Severity.NONE
    if state in _CRITICAL_STATES or reason in _CRITICAL_REASONS:
        return Severity.CRITICAL
    return Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long something has to last, and how often it is told. Milliseconds."""

    after_ms: int
    repeat_ms: int

    def with_reason(self, reason: str) -> Patience:
        """Return how long a state of this reason has to last: the urgent are told at once."""
        return replace(self, after_ms=0) if reason in _URGENT_REASONS else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    What is remembered of one database. Times are on the clock of ``step``'s *now_ms*.

    Attributes:
        unwell_ms: Since when it is unwell without a break; None while it is well.
        critical_ms: Since when it is so badly; None while it is not.
        well_ms: Since when it is well without a break; None while it is not.
        told: What somebody was told last.
        told_ms: When.
        began_ms: Since when what was told lasts.
        relapses: How often it was told of anew within an hour of being well again.
        resolved_ms: When somebody was last told that it is well; None if never.
    """

    unwell_ms: int | None = None
    critical_ms: int | None = None
    well_ms: int | None = None
    told: Severity = Severity.NONE
    told_ms: int = 0
    began_ms: int = 0
    relapses: int = 0
    resolved_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """
    Something to tell.

    Attributes:
        severity: How bad it is; how bad it was, if it is over.
        since_ms: Since when it has been so.
        is_over: Whether it is well again.
        is_repeat: Whether the same was told before.
    """

    severity: Severity
    since_ms: int
    is_over: bool = False
    is_repeat: bool = False


def step(
    case: Case, seen: Severity | None, *, now_ms: int, patience: Patience
) -> tuple[Case, Notice | None]:
    """Return what is remembered after a look that has found *seen*, and what to tell."""
    if seen is None:
        return case, None
    case = replace(
        case,
        unwell_ms=_since(case.unwell_ms, now_ms, holds=seen >= Severity.WARNING),
        critical_ms=_since(case.critical_ms, now_ms, holds=seen >= Severity.CRITICAL),
        well_ms=_since(case.well_ms, now_ms, holds=seen is Severity.NONE),
    )
    return (
        _worse(case, now_ms, patience)
        or _over(case, now_ms, patience)
        or _again(case, now_ms, patience)
        or (case, None)
    )


def clear_after_ms(relapses: int, patience: Patience) -> int:
    """Return how long it has to be well before that is told."""
    return min(patience.after_ms << min(relapses, 16), max(patience.after_ms, _CALM_MS))


def _since(before_ms: int | None, now_ms: int, *, holds: bool) -> int | None:
    if not holds:
        return None
    return now_ms if before_ms is None else before_ms


def _worse(case: Case, now_ms: int, patience: Patience) -> tuple[Case, Notice] | None:
    held = [
        (level, since_ms)
        for level, since_ms in (
            (Severity.CRITICAL, case.critical_ms), (Severity.WARNING, case.unwell_ms)
        )
        if since_ms is not None and now_ms - since_ms >= patience.after_ms and level > case.told
    ]  # fmt: skip
    if not held:
        return None
    level, since_ms = held[0]
    is_relapse = case.resolved_ms is not None and now_ms - case.resolved_ms < _CALM_MS
    relapses = case.relapses if case.told else (case.relapses + 1 if is_relapse else 0)
    told = replace(case, told=level, told_ms=now_ms, began_ms=since_ms, relapses=relapses)
    return told, Notice(severity=level, since_ms=since_ms)


def _over(case: Case, now_ms: int, patience: Patience) -> tuple[Case, Notice] | None:
    if not case.told or case.well_ms is None:
        return None
    if now_ms - case.well_ms < clear_after_ms(case.relapses, patience):
        return None
    notice = Notice(severity=case.told, since_ms=case.began_ms, is_over=True)
    return replace(case, told=Severity.NONE, resolved_ms=now_ms), notice


def _again(case: Case, now_ms: int, patience: Patience) -> tuple[Case, Notice] | None:
    if not case.told or case.unwell_ms is None or now_ms - case.told_ms < patience.repeat_ms:
        return None
    notice = Notice(severity=case.told, since_ms=case.began_ms, is_repeat=True)
    return replace(case, told_ms=now_ms), notice
