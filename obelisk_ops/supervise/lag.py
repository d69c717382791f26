"""
Remember since when each change waits that is not yet proven to be in the bucket.

Pure, but with a memory: the age of the oldest unproven change is the RPO, and
nobody writes down when a change was made. So the time is taken when a change is
first seen, as the end of the last look that did not show it.

The numbers are those of one history. A disk that was set back has another one
than the bucket: that is for the verdict to find out, before it asks here.
"""

from __future__ import annotations

from collections import deque

_MARKS_MAX = 1000
_ARRIVALS_MAX = 100
_OF_LATE_MS = 60_000
#: Less than this takes its time for other reasons than the line.
_TELLING_BYTES = 1 << 16


class Lag:
    """Marks ``(txid, since_ms)``: everything up to this transaction waits since then."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()
        self._proven = 0

    @property
    def oldest_ms(self) -> int | None:
        """Since when the oldest unproven change waits; None if nothing waits."""
        return self._marks[0][1] if self._marks else None

    def saw_local(self, txid: int, *, has_tail: bool, since_ms: int) -> None:
        """
        Note the local position.

        Args:
            txid: Last transaction in Litestream's own files.
            has_tail: Whether more is committed behind it.
            since_ms: When the last look ended that did not show what is new now.
        """
        if not has_tail:
            # A tail that went away without a transaction was not a change after all.
            while self._marks and self._marks[-1][0] > txid:
                self._marks.pop()
        newest = txid + 1 if has_tail else txid
        if newest > self._last:
            self._marks.append((newest, since_ms))
            self._shrink()

    def saw_replica(self, txid: int) -> None:
        """Note that everything up to *txid* is in the bucket."""
        self._proven = max(self._proven, txid)
        while self._marks and self._marks[0][0] <= txid:
            self._marks.popleft()

    def lost_replica(self, txid: int, *, since_ms: int) -> None:
        """Note that the bucket holds only what is up to *txid*, though more was seen there."""
        if txid < self._proven:
            self._marks.appendleft((self._proven, since_ms))
            self._proven = txid

    @property
    def _last(self) -> int:
        return self._marks[-1][0] if self._marks else self._proven

    def _shrink(self) -> None:
        if len(self._marks) > _MARKS_MAX:
            # Two neighbours become one that is as old as the older: never too optimistic.
            pairs = list(self._marks)
            merged = [(pairs[i + 1][0], pairs[i][1]) for i in range(0, len(pairs) - 1, 2)]
            self._marks = deque(merged + ([pairs[-1]] if len(pairs) % 2 else []))


class Arrivals:
    """How many bytes a second arrived in the bucket of late, while any were on their way."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int, int]] = deque(maxlen=_ARRIVALS_MAX)

    def note(self, size: int, *, since_ms: int, until_ms: int) -> None:
        """Note that so many bytes were on their way, and have arrived."""
        self._seen.append((size, since_ms, until_ms))

    def rate(self, now_ms: int, *, since_ms: int | None) -> int | None:
        """
        Return the bytes a second; None if too little arrived of late to tell.

        Args:
            now_ms: Now.
            since_ms: Since when others are on their way; None if there are none.
        """
        while self._seen and now_ms - self._seen[0][2] > _OF_LATE_MS:
            self._seen.popleft()
        size = sum(size for size, *_ in self._seen)
        if size < _TELLING_BYTES:
            return None
        # A line on which nothing comes through any more gets slower and slower.
        waited_ms = 0 if since_ms is None else now_ms - since_ms
        lasted_ms = waited_ms + sum(until - since for _, since, until in self._seen)
        return size * 1000 // max(lasted_ms, 1_000)
