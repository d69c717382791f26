"""
What a bucket is set to do by itself: keep versions, lock objects, delete or move them.

Asked by ``check`` alone. Servers differ in what they can tell; what is asked and
not understood is an error like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Versioning = Literal["enabled", "suspended", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """
    Object lock of a bucket.

    Attributes:
        days: How long every new object is locked; None if only those that ask for it.
        mode: GOVERNANCE or COMPLIANCE; empty without a default.
    """

    days: int | None = None
    mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleRule:
    """
    One rule that is in force. None is "does not".

    Attributes:
        name: Its id, for people.
        prefix: The keys it is about; empty for all.
        is_narrow: Whether it looks at tags or sizes too, and so may spare objects.
        deletes_after_days: When it deletes objects; 0 for a rule with a date.
        archives_after_days: When it moves them where they can not be read at once.
        forgets_versions: Whether it deletes old versions.
    """

    name: str
    prefix: str = ""
    is_narrow: bool = False
    deletes_after_days: int | None = None
    archives_after_days: int | None = None
    forgets_versions: bool = False


class BucketRules(Protocol):
    """
    The settings of one bucket.

    Every method may raise what those of ObjectStore do.
    """

    def versioning(self) -> Versioning:
        """Tell whether what is overwritten or deleted is kept as an old version."""
        ...

    def lock(self) -> Lock | None:
        """Return what is locked against deletion; None if nothing is."""
        ...

    def lifecycle(self) -> Sequence[LifecycleRule]:
        """Return the rules that are in force."""
        ...


#: classes that are read at once, whatever they cost
_READABLE = frozenset({"STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"})


def lifecycle_rules(answer: Iterable[Mapping[str, Any]]) -> list[LifecycleRule]:
    """Return the rules in force of an answer of S3."""
    return [_rule(given) for given in answer if given.get("Status") == "Enabled"]


def _rule(given: Mapping[str, Any]) -> LifecycleRule:
    found = given.get("Filter", {})
    both = found.get("And", {})
    transitions = [
        each.get("Days", 0)
        for each in given.get("Transitions", ())
        if each.get("StorageClass") not in _READABLE
    ]
    expiry = given.get("Expiration", {})
    deletes = expiry.get("Days", 0) if expiry.keys() & {"Days", "Date"} else None
    return LifecycleRule(
        name=given.get("ID", "without a name"),
        prefix=given.get("Prefix") or found.get("Prefix") or both.get("Prefix") or "",
        is_narrow=bool((found.keys() | both.keys()) - {"Prefix", "And"}),
        deletes_after_days=deletes,
        archives_after_days=min(transitions, default=None),
        forgets_versions="NoncurrentVersionExpiration" in given,
    )
