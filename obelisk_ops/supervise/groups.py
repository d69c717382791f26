"""
Decide which databases share a Litestream process.

Pure. A group is what one process serves: one database, or in the shared topology up to
so many. A change of a group restarts its process, which takes the longer the more there are
in it. So a newcomer goes to a small group that is kept for newcomers, and only when that is
full all of it moves on to a large one; nobody else changes place without need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

#: No database can have such a name.
_SHARED = "_shared-"
#: The group of those who came last, and how many are in it at most: a process of so many is
#: up again in less than a second.
NEWCOMERS = f"{_SHARED}new"
FEW = 16

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
    few = min(FEW, size)
    assigned: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name in names:
        group = present.get(name, "")
        limit = few if group == NEWCOMERS else size
        if group.startswith(_SHARED) and counts[group] < limit:
            assigned[name] = group
            counts[group] += 1
    coming = [name for name in names if name not in assigned]
    if len(coming) > few:
        return assigned | _fill(coming, counts, size)
    settled = [name for name, group in assigned.items() if group == NEWCOMERS]
    if len(settled) + len(coming) > few:
        assigned |= _fill(settled, counts, size)
    return assigned | dict.fromkeys(coming, NEWCOMERS)


def _fill(names: Iterable[str], counts: Counter[str], size: int) -> dict[str, str]:
    """Return a large group for each of *names*; *counts* is how many each group has."""
    found: dict[str, str] = {}
    # The emptiest first, and that one to the full: few processes are restarted.
    roomy = sorted(
        (group for group in counts if group != NEWCOMERS and counts[group] < size),
        key=lambda group: (counts[group], group),
    )
    for name in names:
        if not roomy:
            roomy = [_unused_name(counts)]
        group = found[name] = roomy[0]
        counts[group] += 1
        if counts[group] >= size:
            del roomy[0]
    return found


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
