"""What a drill has found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from obelisk_ops.core.when import Txid, show
from obelisk_ops.errors import OpsError, VerificationFailed
from obelisk_ops.inspect.meaning import FAILED, OK


class Outcome(StrEnum):
    """How a drill ended: proven, disproven, or neither."""

    OK = "ok"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


#: the worst counts
_ORDER = (Outcome.FAILED, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """
    One restore of a drill, done.

    Attributes:
        why: See Trial.
        epoch: Of the point.
        txid: Of the point.
        outcome: How it ended.
        captured_ms: When the point was captured, by its header; None if that was not read.
        seconds: How long it took.
        download_bytes: Bytes of the objects it was restored from.
        checks: Check → ``ok``, ``skipped: why`` or ``failed: what``.
        executions: How many were read.
        replayed: How many of them were replayed.
        detail: Why it is not ok; empty if it is.
        cause: What kept it from being proven.
    """

    why: str
    epoch: int
    txid: int
    outcome: Outcome = Outcome.OK
    captured_ms: int | None = None
    seconds: float = 0.0
    download_bytes: int = 0
    checks: Mapping[str, str] = field(default_factory=dict)
    executions: int = 0
    replayed: int = 0
    detail: str = ""
    cause: OpsError | None = None

    @property
    def point(self) -> str:
        """The point, as ``--at`` takes it."""
        return show(Txid(self.txid, self.epoch))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """
    One drill.

    Attributes:
        name: The replica.
        at_ms: When it began; UTC milliseconds.
        seed: What chose its random point.
        outcome: How it ended: the worst of its restores.
        seconds: How long it took.
        tried: Its restores, the newest point first.
        detail: What somebody should know of it.
        cause: What kept it from being proven, where it was an error.
    """

    name: str
    at_ms: int
    seed: int
    outcome: Outcome
    seconds: float = 0.0
    tried: tuple[Tried, ...] = ()
    detail: str = ""
    cause: OpsError | None = None

    @property
    def checks(self) -> dict[str, str]:
        """The checks over all restores: what failed in any, else what was done in any."""
        merged: dict[str, str] = {}
        for tried in self.tried:
            for check, said in tried.checks.items():
                merged[check] = max(merged.get(check, said), said, key=_weight)
        return merged


def outcome_of(error: OpsError) -> Outcome:
    """
    Return what an error says of a backup.

    Only what was read and is not what must have been written disproves it; a bucket that is
    away, a full disk or too little time prove nothing.
    """
    return Outcome.FAILED if isinstance(error, VerificationFailed) else Outcome.INCONCLUSIVE


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of several outcomes."""
    found = set(outcomes)
    return next((outcome for outcome in _ORDER if outcome in found), Outcome.OK)


def failures(checks: Mapping[str, str]) -> str:
    """Say what failed; empty if nothing did."""
    return "; ".join(
        f"{check}: {said.removeprefix(f'{FAILED}: ')}"
        for check, said in checks.items()
        if said.startswith(FAILED)
    )


def _weight(said: str) -> int:
    return 2 if said.startswith(FAILED) else 1 if said == OK else 0
