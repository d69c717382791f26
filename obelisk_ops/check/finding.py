"""
What a check finds, and what all of them together mean to a script.

Pure. A check is green only for something that it has seen: what is not set at
all is a warning, and what could not be asked is skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from obelisk_ops.core.words import counted
from obelisk_ops.errors import ConfigError, OpsError, Unproven
from obelisk_ops.supervise.health import EXIT_ORDER


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """
    What one check tells.

    Attributes:
        outcome: How it ended.
        detail: What it has seen, in words.
        hint: The next question, or what to do.
        code: Of the error, for a failure.
        exit_status: That error's; 0 for everything else.
        figures: What it measured, as Nagios reads it: ``{"pipe": "1.2s"}``.
    """

    outcome: Outcome
    detail: str
    hint: str = ""
    code: str = ""
    exit_status: int = 0
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the check of one name tells."""

    name: str
    told: Told


def ok(detail: str, *, figures: Mapping[str, str] | None = None) -> Told:
    """Return that all is well."""
    return Told(outcome=Outcome.OK, detail=detail, figures=figures or {})


def warn(detail: str, hint: str, *, figures: Mapping[str, str] | None = None) -> Told:
    """Return that it works, and that somebody should think about it."""
    return Told(outcome=Outcome.WARN, detail=detail, hint=hint, figures=figures or {})


def skip(why: str, hint: str = "") -> Told:
    """Return that nothing was found out, and why."""
    return Told(outcome=Outcome.SKIP, detail=why, hint=hint)


def fail(error: OpsError) -> Told:
    """Return what an error means to whoever reads the list."""
    return Told(
        outcome=Outcome.FAIL,
        detail=error.message,
        hint=error.hint,
        code=error.code,
        exit_status=error.exit_status,
    )


def exit_status(findings: Iterable[Finding]) -> int:
    """Return the exit status of the contract that the failures together call for."""
    found = {each.told.exit_status for each in findings if each.told.outcome is Outcome.FAIL}
    order = (ConfigError.exit_status, *EXIT_ORDER)
    return next((status for status in order if status in found), 1 if found else 0)


# -- Nagios ----------------------------------------------------------------------------

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def nagios(findings: Sequence[Finding]) -> tuple[str, int]:
    """
    Return one line with performance data, and the exit status that Nagios understands.

    0 is OK, 1 WARNING, 2 CRITICAL; 3 is UNKNOWN, if nothing is wrong that is known and
    something could not be proven.
    """
    status = _nagios_status(findings)
    told = "; ".join(
        f"{each.told.outcome.upper()} {each.name}: {each.told.detail}"
        for each in sorted(findings, key=lambda each: each.told.outcome is not Outcome.FAIL)
        if each.told.outcome in {Outcome.FAIL, Outcome.WARN}
    )
    counts = {word: _count(findings, word) for word in Outcome}
    summary = f"{counts[Outcome.OK]} of {counted(len(findings), 'check')} ok"
    text = f"OBELISK-OPS {_WORDS[status]} - {summary}{f'; {told}' if told else ''}"
    figures = {f"checks_{word}": str(count) for word, count in counts.items()}
    for each in findings:
        figures |= each.told.figures
    data = " ".join(f"{name}={value}" for name, value in figures.items())
    # A bar begins the data, and a line ends the message.
    return f"{' '.join(text.replace('|', '/').split())}|{data}", status


def _nagios_status(findings: Sequence[Finding]) -> int:
    failed = {each.told.exit_status for each in findings if each.told.outcome is Outcome.FAIL}
    if failed - {Unproven.exit_status}:
        return 2
    return 3 if failed else int(_count(findings, Outcome.WARN) > 0)


def _count(findings: Sequence[Finding], outcome: Outcome) -> int:
    return sum(each.told.outcome is outcome for each in findings)
