"""
What a database costs in requests: ours are counted, Litestream's uploads are too.

What Litestream sends besides follows from its configuration; benchmarks/requests.py counts
all of them on the wire and compares. The lease is the supervisor's own, and in nobody's sum.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from obelisk_ops.objectstore.meter import Meter
from obelisk_ops.settings import LitestreamSettings

_DAY_S = 86_400
_WINDOW_MS = 600_000
_SAMPLE_MS = 60_000

#: Measured with version 0.5.17: a look for old files lists two levels, and deletes what it
#: finds with one request; a compaction lists three times and writes once.
_LISTS_A_CHECK = 2
_REQUESTS_A_COMPACTION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much happened a day, by what happened of late."""

    transactions: float
    requests: float


class Account:
    """
    Counts for one database what is shipped and what we ask.

    Attributes:
        meter: Counts our requests.
    """

    def __init__(self, whole: Meter) -> None:
        self.meter = Meter(whole)
        self._samples: deque[tuple[int, int, int]] = deque()

    def sample(self, now_ms: int, txid: int) -> None:
        """Note where it stands; more often than once a minute changes nothing."""
        if txid and (not self._samples or now_ms - self._samples[-1][0] >= _SAMPLE_MS):
            self._samples.append((now_ms, txid, self.meter.sent))
        while len(self._samples) > 1 and now_ms - self._samples[1][0] >= _WINDOW_MS:
            self._samples.popleft()

    def pace(self, now_ms: int, txid: int) -> Pace | None:
        """Return the rates of the last minutes; None if they were not watched."""
        if not self._samples:
            return None
        since_ms, first, sent = self._samples[0]
        days = max(now_ms - since_ms, _SAMPLE_MS) / (_DAY_S * 1000)
        return Pace(
            transactions=(txid - first) / days, requests=(self.meter.sent - sent) / days
        )


def requests_per_day(pace: Pace, litestream: LitestreamSettings) -> int:
    """Return what all requests for a database come to in a day. Pure."""
    moved = pace.transactions
    checks = _DAY_S / litestream.l0_check_s
    deletes = min(checks, moved)
    compactions = sum(min(_DAY_S / every_s, moved) for every_s in litestream.levels_s)
    theirs = moved + checks * _LISTS_A_CHECK + deletes + compactions * _REQUESTS_A_COMPACTION
    return round(pace.requests + theirs)
