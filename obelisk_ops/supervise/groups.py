"""
Decide which databases share a Litestream process.

Pure. A group is what one process serves: one database, or in the shared topology up to
so many. A change of a group restarts its process, so nobody changes place without need,
and newcomers go where the fewest others are disturbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

#: No database can have such a name.
_SHARED = "_shared-"

#: While others are about to be ready, a change waits so long for the next one, and in all no
#: longer than that.
_QUIET_MS = 2_000
_WAIT_MAX_MS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    What its process does not know yet of a group.

    Attributes:
        first_ms: When the first such change was seen.
        last_ms: When the last one was.
    """

    first_ms: int
    last_ms: int


def assign(
    databases: Iterable[str], present: Mapping[str, str], *, size: int | None
) -> dict[str, str]:
    """
    Return the group of every database.

    Args:
        databases: Their names.
        present: The group that each is in now, if it is in one.
        size: How many may share one; None: each has a group of its own.
    """
    names = sorted(databases)
    if size is None:
        return {name: name for name in names}
    assigned: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name in names:
        group = present.get(name, "")
        if group.startswith(_SHARED) and counts[group] < size:
            assigned[name] = group
            counts[group] += 1
    # The emptiest first, and that one to the full: few processes, each with few others in it.
    roomy = sorted(
        (group for group in counts if counts[group] < size), key=lambda g: (counts[g], g)
    )
    for name in names:
        if name not in assigned:
            if not roomy:
                roomy = [_unused_name(counts)]
            group = assigned[name] = roomy[0]
            counts[group] += 1
            if counts[group] >= size:
                del roomy[0]
    return assigned


def is_complete(change: Change | None, *, awaited: int, now_ms: int) -> bool:
    """
    Tell whether a process should be started with the group as it is.

    Args:
        change: What the process does not know yet; None if nothing.
        awaited: How many databases of the group are about to be ready.
        now_ms: The clock of *change*.
    """
    if change is None or awaited == 0:
        return True
    is_quiet = now_ms - change.last_ms >= _QUIET_MS
    return is_quiet or now_ms - change.first_ms >= _WAIT_MAX_MS


def _unused_name(groups: Container[str]) -> str:
    return next(name for n in count(1) if (name := f"{_SHARED}{n}") not in groups)
