"""
How many files a fleet has open: counted before they run out.

The limit is inherited by the Litestream processes, which need the most: seven for each of
their databases, a connection among them. Each process has the limit to itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from obelisk_ops import process
from obelisk_ops.errors import TooManyFiles

#: Measured, Litestream 0.5.17; the rest is its binary, its logs, its metrics.
_EACH_IN_LITESTREAM = 7
#: The lock, and for moments the file with its log.
_EACH_HERE = 2
#: Its output, and a connection to its socket.
_EACH_PROCESS = 3
_BASE = 200

#: The same with room to spare, for a process that has no more files than these.
_ROOM_BASE, _ROOM_EACH = 32, 8

#: What the supervisor must be able to open whatever it looks after: connections to the bucket
#: and to processes, who asks for the status, a file for a moment.
_KEPT_FREE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """
    Fewer files than a fleet needs may be open.

    Attributes:
        limit: How many a process may have open.
        needed: How many one of them has at most.
    """

    limit: int
    needed: int

    @property
    def words(self) -> str:
        """What is short, as a sentence."""
        return f"{self.limit} files may be open and {self.needed} may be needed"

    @property
    def way_out(self) -> str:
        """What to do about it."""
        return (
            f"raise the hard limit to {self.needed} (ulimit -Hn, or LimitNOFILE= of the "
            "service) and start the supervisor again"
        )


def needed(groups: Iterable[str]) -> int:
    """Return how many files one process has open at most; *groups*: one for each database."""
    sizes = Counter(groups)
    here = _EACH_HERE * sizes.total() + _EACH_PROCESS * len(sizes)
    return _BASE + max(here, _EACH_IN_LITESTREAM * max(sizes.values(), default=0))


def most_in_one_process() -> int:
    """Return how many databases a Litestream can serve with as many files as may be open."""
    return max(1, (process.most_files() - _ROOM_BASE) // _ROOM_EACH)


class Descriptors:
    """
    The limit on open files, raised as the fleet grows.

    Attributes:
        shortage: What is missing; None while nothing is.
    """

    def __init__(self) -> None:
        self.shortage: Shortage | None = None
        self._asked = self._taken = 0

    def provide_for(self, groups: Iterable[str]) -> bool:
        """Raise the limit to what these groups need, if possible; tell if too low is news."""
        wanted = needed(groups)
        if wanted <= self._asked:
            return False
        was_short, self._asked = self.shortage is not None, wanted
        limit = process.raise_file_limit(wanted)
        self.shortage = Shortage(limit=limit, needed=wanted) if limit < wanted else None
        return self.shortage is not None and not was_short

    def take(self, count: int) -> None:
        """
        Count what one more database keeps open here.

        Raises:
            TooManyFiles: There would be none left to say so.
        """
        short = self.shortage
        if short is not None and self._taken + count + _KEPT_FREE > short.limit:
            raise TooManyFiles(
                "it is not looked after: too many files would be open", hint=short.way_out
            )
        self._taken += count

    def give_back(self, count: int) -> None:
        """Count it no more."""
        self._taken -= count
