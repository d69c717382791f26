"""
How many files a fleet has open: counted before they run out.

The limit is inherited by the Litestream processes, which need the most: seven for each of
their databases, a connection among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from obelisk_ops import process
from obelisk_ops.supervise.fleet import Log

#: Measured, Litestream 0.5.17; the rest is its binary, its logs, its metrics.
_EACH_IN_LITESTREAM = 7
#: The lock, and for moments the file with its log.
_EACH_HERE = 2
#: Its output, and a connection to its socket.
_EACH_PROCESS = 3
_BASE = 200


def needed(groups: Iterable[str]) -> int:
    """Return how many files one process has open at most; *groups*: one for each database."""
    sizes = Counter(groups)
    here = _EACH_HERE * sizes.total() + _EACH_PROCESS * len(sizes)
    return _BASE + max(here, _EACH_IN_LITESTREAM * max(sizes.values(), default=0))


class Descriptors:
    """The limit on open files, raised as the fleet grows; what is missing is said once."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._asked = 0

    def provide_for(self, groups: Iterable[str]) -> None:
        """Raise the limit to what these groups need, as far as the system allows."""
        wanted = needed(groups)
        if wanted <= self._asked:
            return
        self._asked = wanted
        limit = process.raise_file_limit(wanted)
        if limit < wanted:
            self._log.warning(
                "open_files",
                limit=limit,
                needed=wanted,
                hint="raise the hard limit (ulimit -Hn, or LimitNOFILE= of the service)",
            )
