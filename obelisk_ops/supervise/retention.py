"""Watches the clocks for a fleet, and says whether its processes may delete; see skew.py."""

from __future__ import annotations

from obelisk_ops.core.clock import Clock
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.skew import Permission, decide, skew_ms, words_of_skew


class Retention:
    """Whether Litestream may delete what is old enough, by the clocks as they are now."""

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self._bucket, self._clock = bucket, clock
        self._last: Permission | None = None

    @property
    def skew_ms(self) -> int | None:
        """How far this clock is ahead of the bucket's, behind if negative; None: not known."""
        now_ms, elapsed_ms = self._clock.now_ms(), self._clock.elapsed_ms()
        return skew_ms(self._bucket.time, now_ms=now_ms, elapsed_ms=elapsed_ms)

    def may_delete(self) -> bool:
        """Look at the clocks, and tell."""
        skew = self.skew_ms
        decided = decide(skew, before=self._last, elapsed_ms=self._clock.elapsed_ms())
        if skew is not None:
            self._last = decided
        return decided.is_given

    @property
    def words(self) -> str:
        """Why nothing is deleted now; empty if it is."""
        return "" if self.may_delete() else words_of_skew(self.skew_ms)
