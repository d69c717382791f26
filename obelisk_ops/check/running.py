"""
Runs checks one after the other; one cause is one failure.

What rests on a check that failed is skipped and says so. A bug in one check
stops none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from obelisk_ops.check.finding import Finding, Outcome, Told, fail, skip
from obelisk_ops.core.words import meant
from obelisk_ops.errors import OpsError, UsageError

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Generic[S]):
    """
    One check.

    Attributes:
        name: What ``--only`` and ``--skip`` call it.
        run: Looks, and tells; an OpsError that it raises is its failure.
        needs: The checks that it rests on; they come before it.
    """

    name: str
    run: Callable[[S], Told]
    needs: tuple[str, ...] = ()


def chosen(
    checks: Sequence[Check[S]], *, only: Collection[str], without: Collection[str]
) -> list[Check[S]]:
    """
    Return the checks that were asked for, and what they rest on.

    Raises:
        UsageError: There is no check of such a name.
    """
    by_name = {check.name: check for check in checks}
    for name in (*only, *without):
        if name not in by_name:
            raise UsageError(
                f"there is no check '{name}'",
                hint=f"{meant(name, by_name)}there are: {', '.join(by_name)}",
            )
    wanted = set(only) or set(by_name)
    for check in reversed(checks):
        if check.name in wanted:
            wanted |= set(check.needs)
    return [check for check in checks if check.name in wanted - set(without)]


def run(checks: Sequence[Check[S]], site: S) -> Iterator[Finding]:
    """Run the checks in their order, and yield what each tells as soon as it is known."""
    stopped: dict[str, str] = {}
    for check in checks:
        cause = next((stopped[name] for name in check.needs if name in stopped), None)
        told = skip(f"rests on '{cause}', which failed") if cause else _run(check, site)
        if cause or told.outcome is Outcome.FAIL:
            stopped[check.name] = cause or check.name
        yield Finding(name=check.name, told=told)


def _run(check: Check[S], site: S) -> Told:
    try:
        return check.run(site)
    except OpsError as error:
        return fail(error)
    except Exception as bug:  # noqa: BLE001 — one check's bug must not hide what the others say
        return fail(OpsError(f"this is a bug: {type(bug).__name__}: {bug}"))
