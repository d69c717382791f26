"""
Whether what was once seen in the bucket is still there, and leads to the newest state.

Pure, but with a memory. A listing may be a moment old, or short; so nothing is concluded
from one. What is missing is in doubt until several listings in a row, over some seconds,
have left it out.
"""

from __future__ import annotations

from dataclasses import dataclass

from obelisk_ops.replica.chain import Chain
from obelisk_ops.supervise.health import Problem

#: So many listings in a row have to miss something, over at least so long.
CONFIRM_LOOKS = 3
CONFIRM_MS = 3_000
#: The rest between them.
AGAIN_MS = 1_500

#: How often an epoch that takes more than one request is looked at: for each request so long.
_REST_IDLE_MS = 240_000
_REST_BUSY_MS = 30_000
#: One page, the folders, and a page for each level that is in use.
_REQUESTS_LARGE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """
    Transactions that should be in the bucket and were not listed.

    Attributes:
        first: The first of them; a restore gets to the one before it.
        last: The last of them.
    """

    first: int
    last: int

    @property
    def words(self) -> str:
        """Which they are, as the subject of a sentence."""
        if self.first == self.last:
            return f"transaction {self.first} is"
        return f"transactions {self.first} to {self.last} are"


def missing_from(chain: Chain, *, acknowledged: int) -> Missing | None:
    """Return what a chain lacks, *acknowledged* being the last transaction once seen there."""
    if chain.resumes:
        return Missing(first=chain.reached + 1, last=chain.resumes - 1)
    if chain.reached < acknowledged:
        return Missing(first=chain.reached + 1, last=acknowledged)
    if chain.newest is not None and chain.reached < chain.newest.max_txid:
        return Missing(first=chain.reached + 1, last=chain.newest.max_txid)
    return None


def rest_ms(chain: Chain, *, list_interval_ms: int, is_busy: bool) -> int:
    """Return how long after a look at *chain* the next one is due."""
    if chain.is_small:
        return list_interval_ms
    return _REQUESTS_LARGE * (_REST_BUSY_MS if is_busy else _REST_IDLE_MS)


class Custody:
    """
    What is missing, and how sure that is.

    Attributes:
        missing: What the last look did not find; None if nothing is missing.
        promised: The last transaction that was said to be there, and was not found.
        alarms: How often something made it likely that something is missing.
        answered: How many of them there had been when the last look at everything began.
    """

    def __init__(self) -> None:
        self.missing: Missing | None = None
        self.promised = self.alarms = self.answered = 0
        self._looks = 0
        self._since_ms = self._looked_ms = 0

    def alarm(self, *, promised: int = 0) -> None:
        """Ask for a look at everything, which has to find *promised*."""
        self.promised = max(self.promised, promised)
        self.alarms += 1

    @property
    def is_alarmed(self) -> bool:
        """Tell whether no look at everything has begun since the last alarm, and ended."""
        return self.alarms != self.answered

    def note(self, missing: Missing | None, *, now_ms: int) -> None:
        """Note what one look did not find."""
        if missing is None:
            self.missing, self._looks = None, 0
            return
        if self.missing is None:
            self._since_ms = now_ms
        self.missing = missing
        self._looks += 1
        self._looked_ms = now_ms

    @property
    def is_certain(self) -> bool:
        """Tell whether it was missed often enough to be lost."""
        lasted_ms = self._looked_ms - self._since_ms
        return self._looks >= CONFIRM_LOOKS and lasted_ms >= CONFIRM_MS

    def is_due(self, now_ms: int) -> bool:
        """Tell whether it has to be asked again now."""
        return self.missing is not None and now_ms - self._looked_ms >= AGAIN_MS

    def problem(self) -> Problem | None:
        """Return what is missing, for the verdict."""
        if self.missing is None:
            return None
        which, since_ms = self.missing.words, self._since_ms
        if self.is_certain:
            text = f"{which} gone from the bucket"
            return Problem(code="lost_objects", text=text, since_ms=since_ms)
        text = f"{which} not listed any more; asking again"
        return Problem(code="verification_failed", text=text, since_ms=since_ms)
